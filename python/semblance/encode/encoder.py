"""`Encoder`: texts, or any named inputs, to vectors; the face over the static and the ONNX models."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from functools import cached_property
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import xxhash

from ..errors import ArgumentError, NotFoundError, UnsupportedError
from . import hub, pooling
from .devices import check_device
from .static import StaticModel, default_model
from .texts import Report, checked, windows
from .tokenize import check_length

if TYPE_CHECKING:
    from .onnx import OnnxModel

Progress = bool | Callable[[int, int], object]


class Model(Protocol):
    """What an encoder needs of a model that reads texts."""

    name: str
    device: str
    max_tokens: int

    @property
    def dim(self) -> int: ...

    def encode_windows(
        self, windows: Iterable[list[str]], batch_tokens: int | None = None, report: Report | None = None
    ) -> Iterator[np.ndarray]: ...

    def tokens(self, texts: list[str]) -> list[list[str]]: ...

    def identity(self) -> str: ...


class Encoder:
    """Vectors of texts (or of any named inputs of an ONNX model).

    Parameters
    ----------
    model : str or PathLike, optional
        None: the embedded static encoder, English, offline. Else a folder as published on model hubs, an ``.onnx``
        file, ``org/name`` (needs ``huggingface_hub``), or a file that `save` wrote.
    device : str
        "cpu", "cuda", "cuda:1"; "auto" takes CUDA where it works and says once through ``logging`` what it took.
    pooling : str
        "auto" follows the folder (mean where it says nothing); "mean", "cls", "last", "max", "mean_sqrt",
        "weighted_mean".
    dims : int, optional
        Keep the first ``dims`` dimensions, before the vectors are brought to unit length.
    instruction : str, optional
        Put before every text.
    max_tokens : int, optional
        Tokens of a text that count, special tokens included; None takes the model's own limit.
    output : str, optional
        The ONNX output to use; None takes the first one with a vector per token, else the first of floats.
    threads : int
        Of an ONNX model; 0 = the cores that affinity and control group allow.

    Raises
    ------
    ArgumentError
        A parameter of another form than above, or one that does not go with the model.
    NotFoundError
        No such folder, file or repository.
    FormatError
        A damaged or foreign file, or one that points outside its own folder.
    UnsupportedError
        ONNX Runtime or the requested device is missing; the message names the pip line.

    Notes
    -----
    Cost: a short text takes about 3 µs of a core with the static encoder, 3 ms with a 22M-parameter model.
    An empty text has a vector too: the mean of the texts that a static encoder was fitted on, or what an ONNX model
    says to its special tokens alone. Nothing is unpickled.
    Source of the static kind: Model2Vec (Tulkens and van Dongen, 2024), here fitted by least squares, see `distill`.

    Examples
    --------
    >>> import semblance as sb
    >>> encoder = sb.Encoder()
    >>> vectors = encoder.encode(["a small dog", "a little puppy", "tax law"])
    >>> vectors.shape
    (3, 256)
    >>> bool(vectors[0] @ vectors[1] > vectors[0] @ vectors[2])
    True
    """

    def __init__(
        self,
        model: str | os.PathLike[str] | None = None,
        *,
        device: str = "auto",
        pooling: str = "auto",
        dims: int | None = None,
        instruction: str | None = None,
        max_tokens: int | None = None,
        output: str | None = None,
        threads: int = 0,
    ) -> None:
        options: dict[str, Any] = {"device": check_device(device), "pooling": _check_pooling(pooling), "output": output}
        options["threads"] = _check_threads(threads)
        options["max_tokens"] = None if max_tokens is None else check_length(max_tokens, "max_tokens")
        if instruction is not None and not isinstance(instruction, str):
            raise ArgumentError(f"instruction: expected str, got {type(instruction).__name__}")
        self._settle(_open(model, options), dims, instruction or "")

    @classmethod
    def _of(cls, model: Model, dims: int | None = None, instruction: str = "") -> Encoder:
        """An encoder over a model that is already open."""
        encoder = cls.__new__(cls)
        encoder._settle(model, dims, instruction)
        return encoder

    def _settle(self, model: Model, dims: int | None, instruction: str) -> None:
        if dims is not None and check_length(dims, "dims") > model.dim:
            raise ArgumentError(f"dims: expected at most the model's {model.dim}, got {dims}")
        self._model, self._dims, self._instruction = model, dims, instruction

    @cached_property
    def dim(self) -> int:
        """Dimensions of a vector."""
        return self._dims or self._model.dim

    @property
    def device(self) -> str:
        """Where it really runs: "cpu" or "cuda"."""
        return self._model.device

    @property
    def name(self) -> str:
        """A short name for people."""
        return self._model.name

    @property
    def max_tokens(self) -> int:
        """Tokens of a text that count."""
        return self._model.max_tokens

    @cached_property
    def fingerprint(self) -> str:
        """Equal for two encoders exactly if they give the same vectors: a hash of weights, tokenizer and settings.

        Cost: reads every file of the model once.
        """
        own = f"{self._dims} {self._instruction}"
        return xxhash.xxh3_128_hexdigest(f"{self._model.identity()} {own}".encode())

    def encode(
        self,
        texts: Iterable[str] | Mapping[str, Any],
        *,
        batch_tokens: int | None = None,
        progress: Progress = False,
        normalize: bool = True,
    ) -> np.ndarray:
        """Vectors of texts, or of items given as named arrays.

        Parameters
        ----------
        texts : iterable of str, or mapping of str to array
            Texts; a generator is read in windows of 4,096, so only the vectors grow. Or, for an ONNX model of any
            signature, its inputs by name, whose first axis is the items.
        batch_tokens : int, optional
            Limit of texts × longest text of a batch; for named arrays the number of items of a batch. The vectors do
            not depend on it.
        progress : bool or callable
            True = a tqdm bar; or a callable (done, total), total 0 where a generator does not tell.
        normalize : bool
            Bring every vector to unit length.

        Returns
        -------
        ndarray
            (n, dim) f32 in the order of the texts; (0, dim) for none.

        Raises
        ------
        ArgumentError
            A single str, items that are no str, inputs that do not fit the model.
        UnsupportedError
            Named arrays to a static encoder, texts to a model that takes none.
        Error
            The model gave NaN or inf.

        Notes
        -----
        Texts are sorted by length and batched under the token budget; the order of the results is that of the texts. A
        text beyond ``max_tokens`` is cut; lone surrogates count as U+FFFD.
        """
        size = None if batch_tokens is None else check_length(batch_tokens, "batch_tokens")
        if isinstance(texts, Mapping):
            vectors = self._encode_inputs(texts, size, progress)
        else:
            vectors = self._encode_texts(texts, size, progress)
        vectors = pooling.shortened(vectors, self._dims)
        return pooling.unit(vectors) if normalize else vectors

    def tokens(self, texts: Iterable[str]) -> list[list[str]]:
        """The token strings that the model sees of each text, cut at ``max_tokens``.

        Parameters
        ----------
        texts : iterable of str
            As for `encode`; the instruction goes before each.

        Returns
        -------
        list of list of str
            One list a text, special tokens of an ONNX model included.

        Raises
        ------
        ArgumentError
            A single str, or items that are no str.

        Examples
        --------
        >>> import semblance as sb
        >>> sb.Encoder().tokens(["Claustrophobia!"])
        [['claus', '##tro', '##phobia', '!']]
        """
        return self._model.tokens([self._instruction + text for text in checked(texts)])

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write a static encoder to one file that ``Encoder(path)`` opens.

        Parameters
        ----------
        path : str or PathLike
            The file; replaced as a whole if it exists.

        Raises
        ------
        UnsupportedError
            An ONNX encoder, which is already a folder.
        ArgumentError
            An encoder shortened by ``dims`` or with an instruction; a folder that cannot be written.
        """
        if not isinstance(self._model, StaticModel):
            raise UnsupportedError("save: expected a static encoder, got an ONNX model (copy its folder or distill it)")
        if self._dims is not None or self._instruction:
            raise ArgumentError("save: expected an encoder without dims= and instruction=, got one that has them")
        self._model.save(path)

    def __repr__(self) -> str:
        return f"Encoder({self.name!r}, dim={self.dim}, device={self.device!r}, max_tokens={self.max_tokens})"

    def _encode_texts(self, texts: Iterable[str], batch_tokens: int | None, progress: Progress) -> np.ndarray:
        source = windows(texts)
        if self._instruction:
            source = ([self._instruction + text for text in window] for window in source)
        total = len(texts) if isinstance(texts, (list, tuple)) else 0
        with _reporter(progress, total) as report:
            if not total:
                parts = list(self._model.encode_windows(source, batch_tokens, report))
                return np.concatenate(parts) if parts else np.empty((0, self._model.dim), np.float32)
            out, done = np.empty((total, self._model.dim), np.float32), 0
            for part in self._model.encode_windows(source, batch_tokens, report):
                out[done : done + len(part)] = part
                done += len(part)
            return out

    def _encode_inputs(self, inputs: Mapping[str, Any], batch_items: int | None, progress: Progress) -> np.ndarray:
        if isinstance(self._model, StaticModel):
            raise UnsupportedError("texts: expected texts for a static encoder, got named arrays (use an ONNX model)")
        model: OnnxModel = self._model  # type: ignore[assignment]
        with _reporter(progress, 0) as report:
            return model.encode_inputs(inputs, batch_items or 64, report)


def _open(model: str | os.PathLike[str] | None, options: dict[str, Any]) -> Model:
    """The model that a name stands for."""
    if model is None:
        return _static(default_model(), options)
    if not isinstance(model, (str, os.PathLike)):
        raise ArgumentError(f"model: expected a path or 'org/name', got {type(model).__name__}")
    path = os.fspath(model)
    if os.path.isfile(path) and not path.endswith(".onnx"):
        return _static(StaticModel.load(path), options)
    if not os.path.exists(path):
        if not (isinstance(model, str) and hub.is_repository(path)):
            raise NotFoundError(f"model: expected a folder, a file or 'org/name', got {path!r}, which does not exist")
        path = os.fspath(hub.fetch(path))
    from .folder import open_folder
    from .onnx import OnnxModel, Settings

    return OnnxModel(open_folder(path), Settings(**options))


def _static(model: StaticModel, options: dict[str, Any]) -> StaticModel:
    if options["device"].startswith("cuda"):
        raise UnsupportedError("device: expected 'cpu' for a static encoder, got 'cuda' (a table look-up needs no GPU)")
    if options["pooling"] not in ("auto", "mean") or options["output"] is not None:
        raise ArgumentError("pooling: expected 'auto' or 'mean' and no output= for a static encoder, got others")
    limit = options["max_tokens"]
    return model if limit is None else model.with_max_tokens(limit)


def _check_pooling(method: object) -> str:
    if not isinstance(method, str) or (method != "auto" and method not in pooling.POOLINGS):
        raise ArgumentError(f"pooling: expected 'auto' or one of {sorted(pooling.POOLINGS)}, got {method!r}")
    return method


def _check_threads(threads: object) -> int:
    if isinstance(threads, bool) or not isinstance(threads, int) or threads < 0:
        raise ArgumentError(f"threads: expected an integer of at least 0, got {threads!r}")
    return threads


@contextmanager
def _reporter(progress: Progress, total: int) -> Iterator[Report | None]:
    """Turns "this many more are done" into a bar or into calls (done, total)."""
    if progress is True:
        from tqdm import tqdm

        with tqdm(total=total or None, unit="text", smoothing=0.05) as bar:

            def advance(more: int) -> None:
                bar.update(more)

            yield advance
    elif callable(progress):
        done = 0

        def report(more: int) -> None:
            nonlocal done
            done += more
            progress(done, total)

        yield report
    else:
        yield None
