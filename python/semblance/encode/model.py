"""An ONNX model as an encoder: texts or named arrays in, one vector an item out."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import xxhash

from ..errors import ArgumentError, FormatError, UnsupportedError
from . import graph, long_texts
from . import pooling as pool_methods
from .batching import padded, padded_length, plan
from .folder import ModelFolder
from .inputs import Items, dtype_of
from .onnx import Session, Source
from .texts import Report
from .tokenize import Tokenizer

GPU_BATCH_TOKENS = 16_384
CPU_BATCH_TOKENS = 256  # a thread: activations then stay in its cache, which is worth 15 % over batches of 4,096
_TEXT_INPUTS = ("input_ids", "attention_mask", "token_type_ids", "position_ids")
Rows = list[list[int]]


@dataclass(frozen=True)
class Settings:
    """How a model is run; see `semblance.Encoder` for the meaning of each."""

    device: str = "auto"
    pooling: str = "auto"
    output: str | None = None
    max_tokens: int | None = None
    threads: int = 0
    instruction: str = ""
    pool_instruction: bool | None = None
    layers: int | None = None
    long: str = "truncate"
    precision: str = "fp32"
    cuda_graphs: bool = False


class OnnxModel:
    """An ONNX model as a text encoder, or as a function of named arrays.

    Parameters
    ----------
    folder : ModelFolder
        Where its files are and what they say.
    settings : Settings
        How to run it.
    load : callable, optional
        Gives the model to edit, with its weights or without, instead of the folder's file.
    """

    def __init__(self, folder: ModelFolder, settings: Settings, load: Callable[[bool], Any] | None = None) -> None:
        self.folder = folder
        self.settings = settings
        self.name = folder.name
        self.max_tokens = settings.max_tokens or folder.max_tokens * long_texts.REACH[settings.long]
        self.limit = self.max_tokens if settings.long == "truncate" else folder.max_tokens
        self._load = load
        self._dim: int | None = None
        self._positions: graph.Positions | None = None
        self._pooled_sessions: dict[int | None, Session] = {}  # by the dimensions kept
        self.session = self._open(self._cut if self._is_edited() else None)
        self.device = self.session.device
        self.output = choose_output(list(self.session.outputs.values()), settings.output)
        self.pooling = (folder.pooling or "mean") if settings.pooling == "auto" else settings.pooling
        self.tokenizer = Tokenizer.from_file(folder.tokenizer) if folder.tokenizer and self._takes_text() else None
        self.told = self._instruction_tokens()

    # -- what it is

    @property
    def dim(self) -> int:
        """Dimensions of a vector; found by running one text where the file does not say."""
        if self._dim is None:
            stated = self.output.shape[-1] if self.output.shape else None
            wider = pool_methods.parts(self.pooling) if self._is_pooled_here else 1
            follows = self._is_pooled_here and self.folder.after
            self._dim = stated * wider if isinstance(stated, int) and not follows else self._probe_dim()
        return self._dim

    def identity(self) -> str:
        """A hash of everything that decides a vector: files and settings."""
        own = self.settings
        settings = f"onnx {self.pooling} {self.output.name} {self.max_tokens} {self.skipped}"
        digest = xxhash.xxh3_128(f"{settings} {own.layers} {own.long} {own.precision}".encode())
        if self._load is not None:
            digest.update(graph.serialized(self._load(True), self.name))
        after = (path for step in self.folder.after for path in step.files)
        for path in (self.folder.model, *self.folder.external, self.folder.tokenizer, *after):
            if path is not None:
                _hash_file(digest, path)
        return digest.hexdigest()

    # -- texts

    def encode_windows(
        self, windows: Iterable[list[str]], batch_tokens: int | None = None, report: Report | None = None
    ) -> Iterator[np.ndarray]:
        """Vectors (n, dim) f32 of each window of texts, not normalised; the next window is tokenised meanwhile."""
        self.text_tokenizer()
        source = iter(windows)
        first, second = next(source, None), next(source, None)
        if first is None:
            return
        if second is None:  # nothing to tokenise meanwhile, and a thread costs more than a short text
            yield self.encode_rows(self.rows(first), batch_tokens, report)
            return
        with ThreadPoolExecutor(1, "semblance-tokenize") as ahead:
            coming: deque[Future[Rows]] = deque()
            for window in chain((first, second), source):
                coming.append(ahead.submit(self.rows, window))
                if len(coming) == 2:
                    yield self.encode_rows(coming.popleft().result(), batch_tokens, report)
            yield self.encode_rows(coming.popleft().result(), batch_tokens, report)

    def tokens(self, texts: Sequence[str]) -> list[list[str]]:
        """The token strings that the model is given for each text, special tokens included."""
        return self.text_tokenizer().words(self.rows(texts))

    def rows(self, texts: Sequence[str], most: int | None = None) -> Rows:
        """Ids of each text with its special tokens, at most ``most`` (None: `max_tokens`) and at least one."""
        tokenizer = self.text_tokenizer()
        room = (most or self.max_tokens) - len(tokenizer.prefix) - len(tokenizer.suffix)
        rows = [tokenizer.prefix + row + tokenizer.suffix for row in tokenizer.ids(texts, max(room, 1))]
        return [row or [tokenizer.pad_id] for row in rows]

    @property
    def batch_tokens(self) -> int:
        """Tokens a batch where the caller does not say."""
        return CPU_BATCH_TOKENS * max(self.session.threads, 2) if self.device == "cpu" else GPU_BATCH_TOKENS

    def width(self, row: list[int]) -> int:
        """Tokens that a row is padded to."""
        return padded_length(len(row), self.limit)

    def encode_rows(self, rows: Rows, batch_tokens: int | None = None, report: Report | None = None) -> np.ndarray:
        """Vectors (n, dim) f32 of texts given as ids with their special tokens, in sorted batches."""
        (vectors,) = self._encode_rows(self.session, [self.output.name], rows, batch_tokens, report)
        return np.asarray(vectors)

    def encode_layers(self, rows: Rows, batch_tokens: int | None = None, report: Report | None = None) -> np.ndarray:
        """Vectors after each layer, (layers, n, dim) f32."""
        session, outputs = self._layers
        return self._encode_rows(session, outputs, rows, batch_tokens, report)

    def _encode_rows(
        self, session: Session, outputs: list[str], rows: Rows, batch_tokens: int | None, report: Report | None
    ) -> np.ndarray:
        """(outputs, n, dim); a text longer than a window is run as several."""
        if self.settings.long != "windows" or all(len(row) <= self.limit for row in rows):
            return self._encode_batches(session, outputs, rows, batch_tokens, report)
        tokenizer = self.text_tokenizer()
        pieces = [long_texts.windows(row, tokenizer, self.told, self.limit) for row in rows]
        vectors = self._encode_batches(session, outputs, list(chain.from_iterable(pieces)), batch_tokens, None)
        if report is not None:
            report(len(rows))
        return np.stack([long_texts.merged(part, pieces) for part in vectors])

    def _encode_batches(
        self, session: Session, outputs: list[str], rows: Rows, batch_tokens: int | None, report: Report | None
    ) -> np.ndarray:
        pad_id = self.text_tokenizer().pad_id
        out = np.empty((len(outputs), len(rows), self.dim), np.float32)
        for positions in plan([len(row) for row in rows], batch_tokens or self.batch_tokens, self.limit):
            ids, lengths = padded([rows[position] for position in positions], pad_id, self.limit)
            for part, hidden in zip(out, self._run(session, outputs, ids, lengths), strict=True):
                part[positions] = self.pooled(hidden, lengths, self.skipped)
            if report is not None:
                report(len(positions))
        return out

    def _run(self, session: Session, outputs: list[str], ids: np.ndarray, lengths: np.ndarray) -> list[np.ndarray]:
        """Outputs for padded ids; an id that the model has no row for is said to be the tokenizer's."""
        try:
            return session.run(outputs, self.feed(ids, lengths))
        except ArgumentError as error:
            if "out of data bounds" not in str(error):
                raise
            hint = f"ids up to {ids.max()} are in the texts: does the tokenizer.json belong to the model?"
            raise ArgumentError(f"{error} ({hint})") from error

    def feed(self, ids: np.ndarray, lengths: np.ndarray) -> dict[str, np.ndarray]:
        """The model's inputs for padded ids (n, t) and their lengths (n,)."""
        columns = np.arange(ids.shape[1])
        stretch = ids.shape[1] > self.limit and self.settings.long in ("group", "interpolate")
        places = long_texts.grouped(len(columns), self.limit) if stretch and self._positions is None else columns
        made: dict[str, Callable[[], np.ndarray]] = {
            "input_ids": lambda: ids,
            "attention_mask": lambda: columns < lengths[:, None],
            "token_type_ids": lambda: np.zeros_like(ids),
            "position_ids": lambda: np.broadcast_to(places, ids.shape),
        }
        feed = {name: np.ascontiguousarray(made[name](), dtype_of(node)) for name, node in self.session.inputs.items()}
        if stretch and self._positions is not None:
            offset, method = self.folder.position_offset, self.settings.long
            table = long_texts.stretched(self._positions.rows, ids.shape[1], self.limit, offset, method)
            feed[self._positions.name] = table
        return feed

    def text_tokenizer(self) -> Tokenizer:
        """The tokenizer; UnsupportedError for a model that reads no texts."""
        if self.tokenizer is not None:
            return self.tokenizer
        if not self._takes_text():
            inputs = self.session.inputs
            if "input_ids" in inputs:
                foreign = ", ".join(name for name in inputs if name not in _TEXT_INPUTS)
                want = f"a model of texts that takes {', '.join(_TEXT_INPUTS)}, or some of them"
                raise UnsupportedError(f"texts: expected {want}, got one that also takes {foreign} (pass a dict)")
            takes = ", ".join(inputs)
            raise UnsupportedError(f"texts: expected a model with input_ids, got one that takes {takes} (pass a dict)")
        raise UnsupportedError(f"texts: expected a tokenizer.json beside {self.folder.model.name}, got none")

    @property
    def skipped(self) -> int:
        """Leading tokens that pooling leaves out: the instruction with what stands before it, where that is wished."""
        wished = self.settings.pool_instruction
        pooled = self.folder.include_prompt if wished is None else wished
        return 0 if pooled or not self.told or self.tokenizer is None else len(self.tokenizer.prefix) + self.told

    # -- vectors that stay on the device

    def device_batches(
        self, rows: Rows, batch_tokens: int | None, dims: int | None
    ) -> Iterator[tuple[np.ndarray, Any]]:
        """(positions, unit vectors on the device) of each batch."""
        if self.skipped or (self.settings.long == "windows" and any(len(row) > self.limit for row in rows)):
            raise UnsupportedError("device: expected whole texts pooled with their instruction, got parts of them")
        if dims not in self._pooled_sessions:
            self._pooled_sessions[dims] = self._open(lambda: self._with_pooling(dims))
        session, pad_id = self._pooled_sessions[dims], self.text_tokenizer().pad_id
        for positions in plan([len(row) for row in rows], batch_tokens or self.batch_tokens, self.limit):
            feed = self.feed(*padded([rows[position] for position in positions], pad_id, self.limit))
            yield positions, session.run_on_device("vectors", feed)

    def _with_pooling(self, dims: int | None) -> bytes:
        method, after = (self.pooling, self.folder.after) if self._is_pooled_here else ("pooled", ())
        return self._finished(graph.with_pooling(self._cut_model(), self.output.name, method, dims, after))

    # -- the graph that is opened

    def _open(self, edit: Callable[[], bytes] | None) -> Session:
        own = self.settings
        return Session(Source(self.folder.model, edit), self.name, own.device, own.threads, own.cuda_graphs)

    def _is_edited(self) -> bool:
        own = self.settings
        stretched = own.long in ("group", "interpolate")
        return self._load is not None or own.layers is not None or stretched or own.precision != "fp32"

    def _model(self, weights: bool = False) -> Any:
        weights = weights or self.settings.precision != "fp32"
        return graph.load(self.folder.model, weights) if self._load is None else self._load(weights)

    def edited(self, weights: bool = False) -> Any:
        """The model that the session runs, also with the weights that lie in other files."""
        return self._converted(self._cut_model(weights))

    def _cut(self) -> bytes:
        return self._finished(self._cut_model())

    def _cut_model(self, weights: bool = False) -> Any:
        """The model up to the layer that was asked for."""
        model, layers = self._model(weights), self.settings.layers
        if layers is not None:
            names = graph.layer_outputs(model, self.name)
            if layers > len(names) + 1:
                raise ArgumentError(f"layers: expected at most the model's {len(names) + 1}, got {layers}")
            model = graph.with_outputs(model, [names[layers - 1]]) if layers <= len(names) else model
        return model

    def _converted(self, model: Any) -> Any:
        if self.settings.precision == "fp32":
            return model
        from .precision import converted

        return converted(model, self.settings.precision, self.name)

    def _finished(self, model: Any) -> bytes:
        """The model in the precision and with the positions that were asked for."""
        model = self._converted(model)
        if self.settings.long in ("group", "interpolate"):
            most = padded_length(self.max_tokens)
            self._positions = graph.open_positions(model, self.folder.model.parent, most)
            by_input = self.settings.long == "group" and any(i.name == "position_ids" for i in model.graph.input)
            if self._positions is None and not by_input:
                raise UnsupportedError(
                    f"long: expected a model with a table of positions for {self.settings.long!r}, got none in "
                    f"{self.name} (long='windows' needs none)"
                )
        return graph.serialized(model, self.name)

    @cached_property
    def _layers(self) -> tuple[Session, list[str]]:
        """A session that gives the state after each layer, and their names; opened when first wanted."""
        self.text_tokenizer()
        names = graph.layer_outputs(self._model(), self.name)
        layers = self.settings.layers
        names = [*names, self.output.name] if layers is None else [*names, ""][:layers]
        names = [name or self.output.name for name in names]
        return self._open(lambda: self._finished(graph.with_outputs(self._model(), names))), names

    def _instruction_tokens(self) -> int:
        if not self.settings.instruction or self.tokenizer is None:
            return 0
        return len(self.tokenizer.ids([self.settings.instruction], self.max_tokens)[0])

    @property
    def _is_pooled_here(self) -> bool:
        """Whether the output has a vector per token; others come with all that follows the pooling done."""
        return len(self.output.shape or ()) == 3

    def pooled(self, output: np.ndarray, lengths: np.ndarray, skip: int = 0) -> np.ndarray:
        """The vectors (n, dim) of an output, with what the folder does after the pooling; Error for NaN or inf."""
        vectors = pool_methods.pool(output, lengths, self.pooling, skip)
        for step in self.folder.after if output.ndim == 3 else ():
            vectors = step(vectors)
        pool_methods.check_finite(vectors, self.name)
        return vectors

    def _takes_text(self) -> bool:
        inputs = self.session.inputs
        return "input_ids" in inputs and all(name in _TEXT_INPUTS for name in inputs)

    def _probe_dim(self) -> int:
        if not self._takes_text():
            raise UnsupportedError("dim: expected a model that states its output shape, got one that does not")
        ids, lengths = np.ones((1, 2), np.int64), np.array([2])
        (hidden,) = self.session.run([self.output.name], self.feed(ids, lengths))
        return int(self.pooled(hidden, lengths).shape[1])

    # -- named arrays

    def encode_inputs(self, inputs: Mapping[str, Any], batch_items: int, report: Report | None = None) -> np.ndarray:
        """Vectors (n, dim) f32 of n items given as named arrays."""
        items = Items(self.session.inputs, inputs)
        parts = []
        for feed in items.batches(batch_items):
            (output,) = self.session.run([self.output.name], feed)
            if output.ndim < 2 or not items.fits(feed, output):
                want = f"{items.count} rows or vectors from {self.output.name!r}"
                raise ArgumentError(f"output: expected {want}, got shape {output.shape}")
            vectors = self.pooled(output, items.lengths(feed, output))
            parts.append(vectors)
            if report is not None:
                report(len(vectors))
        return np.concatenate(parts) if parts else np.empty((0, self.dim), np.float32)


def choose_output(outputs: Sequence[Any], name: str | None) -> Any:
    """The output by name; else the first of three dimensions (a vector per token), else the first float one."""
    known = [node.name for node in outputs]
    if name is not None:
        if name not in known:
            raise ArgumentError(f"output: expected one of {known}, got {name!r}")
        return outputs[known.index(name)]
    floats = [node for node in outputs if node.type in ("tensor(float)", "tensor(float16)", "tensor(double)")]
    if not floats:
        raise FormatError(f"model: expected an output of floats, got {known}")
    return next((node for node in floats if node.shape and len(node.shape) == 3), floats[0])


def _hash_file(digest: Any, path: Path) -> None:
    with path.open("rb") as file:
        while block := file.read(1 << 24):
            digest.update(block)
