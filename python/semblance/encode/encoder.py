"""`Encoder`: texts, or any named inputs, to vectors; the face over the static and the ONNX models."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterable, Mapping
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import xxhash

from ..errors import ArgumentError, UnsupportedError
from .calls import OnnxCalls
from .codes import Codes, check_codes, coded
from .dynamic import Batching, DynamicBatcher, Work
from .lengths import TokenLengths
from .opening import Model, check_options, open_model
from .progress import Progress, reporter
from .static import StaticModel
from .texts import checked, windows
from .tokenize import check_length

if TYPE_CHECKING:
    from .model import OnnxModel


_AT_ONCE_CHARS = 10_000  # a static encoder reads so many in half a millisecond, less than a change of threads may take


class Encoder(OnnxCalls):
    """Vectors of texts (or of any named inputs of an ONNX model).

    Parameters
    ----------
    model : str or PathLike, optional
        None: the embedded static encoder, English, offline. Else a folder as published on model hubs, an ``.onnx``
        file, ``org/name`` (needs ``huggingface_hub``), or a file that `save` wrote.
    device : str
        "cpu", "cuda", "cuda:1"; "auto" takes CUDA where it works and says once through ``logging`` what it took.
        "tensorrt" or "tensorrt:1" only when asked for: it builds an engine for each new range of shapes, which takes
        minutes.
    pooling : str
        "auto" follows the folder (mean where it says nothing); "mean", "cls", "last", "max", "mean_sqrt",
        "weighted_mean", "dupmae" (cls beside the maximum over ordinary tokens); several joined by "+" are put side by
        side: "cls+mean". An output without a token axis is taken as it is.
    dims : int, optional
        Keep the first ``dims`` dimensions, before the vectors are brought to unit length.
    layers : int, optional
        Run only the first ``layers`` layers: the graph is cut there, so the others cost nothing. Needs ``onnx``.
    instruction : str, optional
        Put before every text.
    max_tokens : int, optional
        Tokens of a text that count, special tokens included; None takes the model's own limit, with another ``long``
        than "truncate" 32 times ("windows") or 8 times that.
    long : str
        What happens to a text beyond the model's limit: "truncate"; "windows" that overlap by a quarter, their vectors
        averaged by tokens; "group" gives neighbouring tokens one position, "interpolate" puts positions between the
        learned ones (both need a table of positions, and ``onnx``). A text within the limit stays as it is.
    precision : str
        "fp32"; "fp16"; "w8", 8-bit weights; "dynamic-int8", fastest on some CPUs, but a vector then depends on what
        else is in its batch. All but the first need ``onnx``.
    output : str, optional
        The ONNX output to use; None takes the first one with a vector per token, else the first of floats.
    pool_instruction : bool, optional
        Whether the instruction's tokens (and the special ones before it) count in pooling; None follows the folder.
    threads : int
        Of an ONNX model; 0 = the cores that affinity and control group allow. Callers from several threads take turns
        on them.
    batching : Batching, optional
        How `aencode` gathers texts; None takes `Batching`'s defaults.
    cuda_graphs : bool
        Replay batches of up to 8 texts as CUDA graphs, one a shape, which saves their launches; with ``device="cuda"``
        and a model that runs on the GPU as a whole.
    sha256 : str, optional
        Hexadecimal digest that the model's file (.onnx, or what `save` wrote) must have; checked before it is opened.

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
        layers: int | None = None,
        instruction: str | None = None,
        max_tokens: int | None = None,
        long: str = "truncate",
        precision: str = "fp32",
        output: str | None = None,
        pool_instruction: bool | None = None,
        threads: int = 0,
        batching: Batching | None = None,
        cuda_graphs: bool = False,
        sha256: str | None = None,
    ) -> None:
        options = {
            "device": device, "pooling": pooling, "output": output, "threads": threads, "max_tokens": max_tokens,
            "instruction": instruction or "", "pool_instruction": pool_instruction, "layers": layers, "long": long,
            "precision": precision, "cuda_graphs": cuda_graphs, "sha256": sha256,
        }  # fmt: skip
        check_options({**options, "instruction": instruction})
        self._settle(open_model(model, options), dims, instruction or "", batching)

    @classmethod
    def _of(cls, model: Model, dims: int | None = None, instruction: str = "") -> Encoder:
        """An encoder over a model that is already open."""
        encoder = cls.__new__(cls)
        encoder._settle(model, dims, instruction)
        return encoder

    def _settle(self, model: Model, dims: int | None, instruction: str, batching: Batching | None = None) -> None:
        if dims is not None and check_length(dims, "dims") > model.dim:
            raise ArgumentError(f"dims: expected at most the model's {model.dim}, got {dims}")
        if batching is not None and not isinstance(batching, Batching):
            raise ArgumentError(f"batching: expected a Batching, got {type(batching).__name__}")
        self._model, self._dims, self._instruction = model, dims, instruction
        self._batcher = DynamicBatcher(_work(model), batching or Batching())

    @cached_property
    def dim(self) -> int:
        """Dimensions of a vector."""
        return self._dims or self._model.dim

    @property
    def device(self) -> str:
        """Where it really runs: "cpu", "cuda" or "tensorrt"."""
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
        codes: Codes = "f32",
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
        codes : str
            "f32"; "i8", 127 times the unit vector as int8, which every float index takes; "b1", the signs as packed
            bits, for an index of metric "hamming" and ``dim`` bits.

        Returns
        -------
        ndarray
            (n, dim) f32 in the order of the texts; (0, dim) for none. (n, dim) int8 or (n, ceil(dim / 8)) uint8 as
            ``codes`` ask.

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
        check_codes(codes, normalize)
        if isinstance(texts, Mapping):
            vectors = self._encode_inputs(texts, size, progress)
        else:
            vectors = self._encode_texts(texts, size, progress)
        return coded(self._finished(vectors, normalize), codes)

    async def aencode(self, texts: Iterable[str], *, normalize: bool = True) -> np.ndarray:
        """Vectors of texts, in batches shared with every other caller of this encoder.

        Parameters
        ----------
        texts : iterable of str
            As for `encode`.
        normalize : bool
            Bring every vector to unit length.

        Returns
        -------
        ndarray
            (n, dim) f32, the same bits as `encode` gives.

        Raises
        ------
        ArgumentError
            A single str, or items that are no str.
        UnsupportedError
            A model that takes no texts.
        CapacityError
            More texts wait than ``batching`` allows; nothing of this call is run.
        Error
            The model gave NaN or inf for one of these texts; other callers are not touched.

        Notes
        -----
        Safe from many tasks, event loops and threads. Waiting texts are served in turn, one of each caller, under the
        token budget and the maximum delay of `Batching`; only two batches are ever prepared ahead. Cancelling the task
        drops what has not run yet. Cost beyond `encode`: about 0.1 ms a call; a static encoder reads short texts on the
        spot.

        Examples
        --------
        >>> import asyncio, semblance as sb
        >>> encoder = sb.Encoder()
        >>> async def both():
        ...     return await asyncio.gather(encoder.aencode(["a small dog"]), encoder.aencode(["tax law", "a fee"]))
        >>> [vectors.shape for vectors in asyncio.run(both())]
        [(1, 256), (2, 256)]
        """
        chosen = [self._instruction + text for text in checked(texts)]
        if not chosen:
            return self._finished(np.empty((0, self._model.dim), np.float32), normalize)
        if isinstance(self._model, StaticModel) and sum(map(len, chosen)) <= _AT_ONCE_CHARS:
            await asyncio.sleep(0)  # other tasks have their turn
            return self._finished(next(iter(self._model.encode_windows([chosen]))), normalize)
        return self._finished(await self._batcher.encode(chosen), normalize)

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

    def token_lengths(self, texts: Iterable[str]) -> TokenLengths:
        """How long texts are for this model, before anything is cut.

        Parameters
        ----------
        texts : iterable of str
            As for `encode`; a generator is read in windows.

        Returns
        -------
        TokenLengths
            The lengths (n,) and their mean, median, 95th percentile, maximum, and how many are cut.

        Raises
        ------
        ArgumentError
            A single str, or items that are no str.

        Examples
        --------
        >>> import semblance as sb
        >>> lengths = sb.Encoder(max_tokens=3).token_lengths(["Claustrophobia!", "a cat"])
        >>> lengths.each.tolist(), lengths.longest, lengths.cut
        ([4, 2], 4, 1)
        """
        counts = [
            np.fromiter((len(row) for row in self._whole_rows(window)), np.int64, len(window))
            for window in windows(texts)
        ]
        return TokenLengths(np.concatenate(counts) if counts else np.empty(0, np.int64), self.max_tokens)

    def _whole_rows(self, texts: list[str]) -> list[list[int]]:
        """Ids of each text with its special tokens, nothing cut."""
        told = [self._instruction + text for text in texts]
        longest = max((len(text) for text in told), default=0) + 1
        if isinstance(self._model, StaticModel):
            return [row or [0] for row in self._model.tokenizer.ids(told, longest)]
        return self._onnx("token_lengths").rows(told, longest)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the encoder where ``Encoder(path)`` opens it.

        Parameters
        ----------
        path : str or PathLike
            Of a static encoder: a file, replaced as a whole if it exists. Of an ONNX model, as it is run (cut, merged,
            in fewer bits): a folder that does not exist yet, in the layout of model hubs.

        Raises
        ------
        ArgumentError
            An encoder shortened by ``dims`` or with an instruction, ``output`` or ``long``; a place that cannot be
            written, or a folder that exists.
        UnsupportedError
            An ONNX model without the ``onnx`` package, or larger than 2 GiB.
        """
        if self._dims is not None or self._instruction:
            raise ArgumentError("save: expected an encoder without dims= and instruction=, got one that has them")
        if isinstance(self._model, StaticModel):
            self._model.save(path)
            return
        from .saving import save_folder

        save_folder(self._onnx("save"), path)

    def __repr__(self) -> str:
        return f"Encoder({self.name!r}, dim={self.dim}, device={self.device!r}, max_tokens={self.max_tokens})"

    def _encode_texts(self, texts: Iterable[str], batch_tokens: int | None, progress: Progress) -> np.ndarray:
        source = windows(texts)
        if self._instruction:
            source = ([self._instruction + text for text in window] for window in source)
        total = len(texts) if isinstance(texts, (list, tuple)) else 0
        with reporter(progress, total) as report:
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
        model = self._onnx("encode")
        with reporter(progress, 0) as report:
            return model.encode_inputs(inputs, batch_items or 64, report)


def _work(model: Model) -> Work:
    """What a dynamic batcher does with texts of this model."""
    if isinstance(model, StaticModel):
        return Work(prepare=list, width=lambda text: 1, run=lambda texts: next(iter(model.encode_windows([texts]))))
    onnx: OnnxModel = model  # type: ignore[assignment]
    return Work(prepare=onnx.rows, width=onnx.width, run=onnx.encode_rows, batch_tokens=onnx.batch_tokens)
