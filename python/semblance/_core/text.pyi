from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from .table import Table

class WordPiece:
    def __init__(
        self,
        vocabulary: dict[str, int],
        added: dict[str, int],
        prefix: str,
        unknown: str,
        max_word_points: int,
        steps: Sequence[str],
    ) -> None: ...
    def ids(
        self, texts: Sequence[str], max_tokens: int, max_points: int, threads: int
    ) -> tuple[NDArray[np.int64], NDArray[np.int64]]: ...
    def pool(
        self,
        table: Table,
        texts: Sequence[str],
        max_tokens: int,
        max_points: int,
        empty_id: int,
        out: NDArray[np.float32],
        threads: int,
    ) -> None: ...
