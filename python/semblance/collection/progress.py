"""Progress of long work: a bar on the terminal, or a callable."""

from __future__ import annotations

from collections.abc import Callable
from types import TracebackType
from typing import Any

from ..errors import ArgumentError

ProgressOption = bool | Callable[[int, int | None], object]


class Progress:
    """A context that shows how much is done, by tqdm for True, by the callable, or not at all."""

    def __init__(self, option: ProgressOption, total: int | None) -> None:
        if not isinstance(option, bool) and not callable(option):
            raise ArgumentError(f"progress: expected a bool or a callable(done, total), got {option!r}")
        self._call = option if callable(option) else None
        self._total = total
        self._bar: Any = None
        if option is True:
            from tqdm.auto import tqdm

            self._bar = tqdm(total=total, unit=" records")

    def update(self, done: int) -> None:
        """Report how many are done in all."""
        if self._bar is not None:
            self._bar.update(done - self._bar.n)
        elif self._call is not None:
            self._call(done, self._total)

    def __enter__(self) -> Progress:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.close()
