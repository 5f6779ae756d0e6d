"""Cross-encoders: a query and a text are read together, and scored."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

from ..errors import ArgumentError, UnsupportedError
from . import pooling
from .batching import padded, plan
from .folder import open_folder
from .inputs import dtype_of
from .model import OnnxModel, Settings
from .opening import check_options, local_path
from .progress import Progress, reporter
from .texts import checked, printable
from .tokenize import MAX_CHARS_PER_TOKEN, check_length


class Ranking(NamedTuple):
    """Texts in the order of their scores, the best first.

    Attributes
    ----------
    positions : ndarray
        (k,) int64, which texts.
    scores : ndarray
        (k,) f32.
    """

    positions: np.ndarray
    scores: np.ndarray


class _Pair(NamedTuple):
    ids: list[int]
    types: list[int]


class Reranker:
    """Scores of texts for a query, by an ONNX cross-encoder.

    Parameters
    ----------
    model : str or PathLike
        A folder, an ``.onnx`` file with its ``tokenizer.json`` beside it, or ``org/name``, as for `Encoder`.
    device, max_tokens, precision, threads
        As for `Encoder`; ``max_tokens`` counts query and text together, the longer of the two is cut.
    output : str, optional
        The output that holds the score; None takes the first of floats.
    label : int, optional
        Column of the score where that output has several; None takes the only one, or the second of two.

    Raises
    ------
    ArgumentError, NotFoundError, FormatError, UnsupportedError
        As for `Encoder`.

    Notes
    -----
    Scores are the model's own (logits): only their order has a meaning. Cost: one pass of the model a text, in sorted
    batches like those of `Encoder.encode`, so a score depends on its batch by rounding alone.

    Examples
    --------
    >>> import semblance as sb
    >>> reranker = sb.Reranker("cross-encoder-folder")                                  # doctest: +SKIP
    >>> positions, scores = reranker.rerank("a small dog", ["tax law", "a puppy"], k=1) # doctest: +SKIP
    """

    def __init__(
        self,
        model: str | os.PathLike[str],
        *,
        device: str = "auto",
        max_tokens: int | None = None,
        precision: str = "fp32",
        output: str | None = None,
        label: int | None = None,
        threads: int = 0,
    ) -> None:
        options: dict[str, Any] = {
            "device": device, "max_tokens": max_tokens, "precision": precision, "output": output, "threads": threads,
        }  # fmt: skip
        check_options(
            {**options, "pooling": "auto", "instruction": None, "layers": None, "long": "truncate", "sha256": None}
        )
        self._model = OnnxModel(open_folder(local_path(model)), Settings(**options))
        self._pairs = self._pair_tokenizer()
        self._column = self._score_column(label)

    @property
    def device(self) -> str:
        """Where it really runs: "cpu" or "cuda"."""
        return self._model.device

    @property
    def outputs(self) -> list[str]:
        """Names of the model's outputs."""
        return list(self._model.session.outputs)

    def rerank(self, query: str, texts: Iterable[str], k: int | None = None, *, progress: Progress = False) -> Ranking:
        """The texts in the order of their scores.

        Parameters
        ----------
        query : str
            What is asked.
        texts : iterable of str
            What is to be ordered.
        k : int, optional
            Only the best ``k``.
        progress : bool or callable
            As for `Encoder.encode`.

        Returns
        -------
        Ranking
            (positions, scores), each (min(k, n),), best first, equal scores in the order given.

        Raises
        ------
        ArgumentError
            A query or texts that are no str, ``k`` below 1.
        Error
            The model gave NaN or inf.
        """
        limit = None if k is None else check_length(k, "k")
        scores = self.score(query, texts, progress=progress)
        order = np.argsort(-scores, kind="stable")[:limit]
        return Ranking(order, scores[order])

    def score(
        self, query: str, texts: Iterable[str], *, batch_tokens: int | None = None, progress: Progress = False
    ) -> np.ndarray:
        """One score a text, (n,) f32, larger is better.

        Parameters
        ----------
        query, texts, progress
            As for `rerank`.
        batch_tokens : int, optional
            Limit of pairs × longest pair of a batch.

        Returns
        -------
        ndarray
            (n,) f32 in the order of the texts.

        Raises
        ------
        ArgumentError, Error
            As for `rerank`.
        """
        name = self._model.output.name
        values = self.outputs_of(query, texts, [name], batch_tokens=batch_tokens, progress=progress)[name]
        column: np.ndarray = values.reshape(len(values), -1)[:, self._column] if len(values) else values.reshape(0)
        return column

    def outputs_of(
        self, query: str, texts: Iterable[str], outputs: Sequence[str] | None = None, *,
        batch_tokens: int | None = None, progress: Progress = False,
    ) -> dict[str, np.ndarray]:  # fmt: skip
        """Several outputs of a model with several heads, by name.

        Parameters
        ----------
        query, texts, progress, batch_tokens
            As for `score`.
        outputs : sequence of str, optional
            Names; None gives all.

        Returns
        -------
        dict of str to ndarray
            Each (n, ...) f32 in the order of the texts.

        Raises
        ------
        ArgumentError
            As for `rerank`; an output of another name, or one that has no row a pair.
        Error
            The model gave NaN or inf.
        """
        if not isinstance(query, str):
            raise ArgumentError(f"query: expected str, got {type(query).__name__}")
        size = self._model.batch_tokens if batch_tokens is None else check_length(batch_tokens, "batch_tokens")
        names = self.outputs if outputs is None else list(outputs)
        if isinstance(outputs, str) or any(name not in self.outputs for name in names):
            raise ArgumentError(f"outputs: expected names among {self.outputs}, got {outputs!r}")
        pairs = self._read(query, checked(texts))
        found: dict[str, np.ndarray] = {}
        with reporter(progress, len(pairs)) as report:
            for positions, values in self._batches(pairs, names, size):
                for name, value in zip(names, values, strict=True):
                    found.setdefault(name, np.empty((len(pairs), *value.shape[1:]), np.float32))[positions] = value
                if report is not None:
                    report(len(positions))
        return {name: found.get(name, np.empty((0, 1), np.float32)) for name in names}

    def _batches(
        self, pairs: list[_Pair], names: list[str], batch_tokens: int
    ) -> Iterator[tuple[np.ndarray, list[np.ndarray]]]:
        model, where = self._model, self._model.name
        for positions in plan([len(pair.ids) for pair in pairs], batch_tokens, model.limit):
            ids, lengths = padded([pairs[p].ids for p in positions], self._pad_id, model.limit)
            feed = model.feed(ids, lengths)
            if "token_type_ids" in feed:
                types, _ = padded([pairs[p].types for p in positions], 0, model.limit)
                feed["token_type_ids"] = types.astype(dtype_of(model.session.inputs["token_type_ids"]))
            values = model.session.run(names, feed)
            for name, value in zip(names, values, strict=True):
                if value.ndim == 0 or len(value) != len(positions):
                    raise ArgumentError(f"outputs: expected a row a pair from {name!r}, got shape {value.shape}")
                pooling.check_finite(value.reshape(len(value), -1), where)
            yield positions, values

    def _read(self, query: str, texts: list[str]) -> list[_Pair]:
        clip = MAX_CHARS_PER_TOKEN * (self._model.max_tokens + 8)
        pairs = [(printable(query[:clip]), printable(text[:clip])) for text in texts]
        return [_Pair(pair.ids, pair.type_ids) for pair in self._pairs.encode_batch(pairs)]

    def _pair_tokenizer(self) -> Any:
        """The tokenizer that joins two texts as its post-processor says, cut to ``max_tokens``."""
        from tokenizers import Tokenizer

        single = self._model.text_tokenizer()
        self._pad_id = single.pad_id
        pairs = Tokenizer.from_str(single.definition)
        pairs.no_padding()
        least = pairs.num_special_tokens_to_add(True) + 2
        if self._model.max_tokens < least:
            raise ArgumentError(f"max_tokens: expected at least {least} for a pair, got {self._model.max_tokens}")
        pairs.enable_truncation(self._model.max_tokens, strategy="longest_first")
        return pairs

    def _score_column(self, label: int | None) -> int:
        shape = self._model.output.shape or []
        columns = shape[1] if len(shape) == 2 else 1
        if len(shape) > 2:
            raise UnsupportedError(f"output: expected scores of shape (n,) or (n, labels), got {tuple(shape)}")
        if label is None:
            if isinstance(columns, int) and columns > 2:
                raise ArgumentError(f"label: expected the column of the score, one of {columns}, got None")
            return 1 if columns == 2 else 0
        if isinstance(label, bool) or not isinstance(label, int) or not 0 <= label < (columns or 1):
            raise ArgumentError(f"label: expected an integer from 0 to {columns - 1}, got {label!r}")
        return label
