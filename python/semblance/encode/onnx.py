"""Models run by ONNX Runtime: the only module that imports it, and only when a model is opened."""

from __future__ import annotations

import logging
import os
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import xxhash

from ..errors import ArgumentError, FormatError, UnsupportedError
from . import pooling as pool_methods
from .batching import padded, plan, usable_cores
from .devices import device_of, missing_cuda, providers_for
from .folder import ModelFolder
from .texts import Report
from .tokenize import Tokenizer

BATCH_TOKENS = 4096
_TEXT_INPUTS = ("input_ids", "attention_mask", "token_type_ids", "position_ids")
_DTYPES = {
    "tensor(float)": np.float32, "tensor(double)": np.float64, "tensor(float16)": np.float16,
    "tensor(int64)": np.int64, "tensor(int32)": np.int32, "tensor(int16)": np.int16, "tensor(int8)": np.int8,
    "tensor(uint8)": np.uint8, "tensor(uint16)": np.uint16, "tensor(uint32)": np.uint32, "tensor(uint64)": np.uint64,
    "tensor(bool)": np.bool_,
}  # fmt: skip
_log = logging.getLogger("semblance")
_said: set[str] = set()


def runtime() -> Any:
    """The ``onnxruntime`` module.

    Raises
    ------
    UnsupportedError
        Neither, both or a hollowed-out one of onnxruntime and onnxruntime-gpu is installed; the message has the lines.
    """
    found = [name for name in ("onnxruntime", "onnxruntime-gpu") if _installed(name)]
    if len(found) == 2:
        raise UnsupportedError(
            "onnx: expected one of onnxruntime and onnxruntime-gpu, got both, which overwrite each other's files "
            "(pip uninstall -y onnxruntime onnxruntime-gpu, then pip install 'semblance[onnx]' or 'semblance[gpu]')"
        )
    try:
        import onnxruntime
    except ImportError as error:
        raise UnsupportedError(
            f"onnx: expected ONNX Runtime, got {error} (pip install 'semblance[onnx]', or 'semblance[gpu]' for CUDA)"
        ) from error
    if not hasattr(onnxruntime, "InferenceSession"):
        raise UnsupportedError(
            "onnx: expected a whole onnxruntime package, got one whose files are gone "
            "(pip install --force-reinstall onnxruntime)"
        )
    return onnxruntime


def _installed(name: str) -> bool:
    try:
        metadata.version(name)
    except metadata.PackageNotFoundError:
        return False
    return True


@dataclass(frozen=True)
class Settings:
    """How a model is run; see `semblance.Encoder` for the meaning of each."""

    device: str = "auto"
    pooling: str = "auto"
    output: str | None = None
    max_tokens: int | None = None
    threads: int = 0


class OnnxModel:
    """An ONNX model as a text encoder, or as a function of named arrays."""

    def __init__(self, folder: ModelFolder, settings: Settings) -> None:
        self.folder = folder
        self.settings = settings
        self.name = folder.name
        self.max_tokens = settings.max_tokens or folder.max_tokens
        self._lock = threading.Lock()
        self._pid = -1
        self._dim: int | None = None
        self._session = self._open_session()
        self.device = device_of(self._session.get_providers()[0])
        self.inputs: dict[str, Any] = {node.name: node for node in self._session.get_inputs()}
        self.output = _choose_output(self._session.get_outputs(), settings.output)
        self.pooling = (folder.pooling or "mean") if settings.pooling == "auto" else settings.pooling
        self.tokenizer = Tokenizer.from_file(folder.tokenizer) if folder.tokenizer and self._takes_text() else None

    # -- what it is

    @property
    def dim(self) -> int:
        """Dimensions of a vector; found by running one text where the file does not say."""
        if self._dim is None:
            stated = self.output.shape[-1] if self.output.shape else None
            self._dim = stated if isinstance(stated, int) else self._probe_dim()
        return self._dim

    def identity(self) -> str:
        """A hash of everything that decides a vector: files and settings."""
        digest = xxhash.xxh3_128(f"onnx {self.pooling} {self.output.name} {self.max_tokens}".encode())
        for path in (self.folder.model, *self.folder.external, self.folder.tokenizer):
            if path is not None:
                _hash_file(digest, path)
        return digest.hexdigest()

    # -- texts

    def encode_windows(
        self, windows: Iterable[list[str]], batch_tokens: int | None = None, report: Report | None = None
    ) -> Iterator[np.ndarray]:
        """Vectors (n, dim) f32 of each window of texts, not normalised; the next window is tokenised meanwhile."""
        tokenizer = self._text_tokenizer()
        with ThreadPoolExecutor(1, "semblance-tokenize") as ahead:
            coming: deque[Future[list[list[int]]]] = deque()
            for window in windows:
                coming.append(ahead.submit(self._rows, tokenizer, window))
                if len(coming) == 2:
                    yield self.encode_rows(coming.popleft().result(), batch_tokens, report)
            if coming:
                yield self.encode_rows(coming.popleft().result(), batch_tokens, report)

    def tokens(self, texts: Sequence[str]) -> list[list[str]]:
        """The token strings that the model is given for each text, special tokens included."""
        tokenizer = self._text_tokenizer()
        return tokenizer.words(self._rows(tokenizer, texts))

    def _rows(self, tokenizer: Tokenizer, texts: Sequence[str]) -> list[list[int]]:
        room = self.max_tokens - len(tokenizer.prefix) - len(tokenizer.suffix)
        rows = [tokenizer.prefix + row + tokenizer.suffix for row in tokenizer.ids(texts, max(room, 1))]
        return [row or [tokenizer.pad_id] for row in rows]

    def encode_rows(
        self, rows: list[list[int]], batch_tokens: int | None = None, report: Report | None = None
    ) -> np.ndarray:
        """Vectors (n, dim) f32 of texts given as ids with their special tokens, in sorted batches."""
        pad_id = self._text_tokenizer().pad_id
        out = np.empty((len(rows), self.dim), np.float32)
        for positions in plan([len(row) for row in rows], batch_tokens or BATCH_TOKENS):
            ids, lengths = padded([rows[position] for position in positions], pad_id)
            vectors = pool_methods.pool(self._run(self._feed(ids, lengths)), lengths, self.pooling)
            pool_methods.check_finite(vectors, self.name)
            out[positions] = vectors
            if report is not None:
                report(len(positions))
        return out

    def _feed(self, ids: np.ndarray, lengths: np.ndarray) -> dict[str, np.ndarray]:
        columns = np.arange(ids.shape[1])
        made: dict[str, Callable[[], np.ndarray]] = {
            "input_ids": lambda: ids,
            "attention_mask": lambda: columns < lengths[:, None],
            "token_type_ids": lambda: np.zeros_like(ids),
            "position_ids": lambda: np.broadcast_to(columns, ids.shape),
        }
        return {name: np.ascontiguousarray(made[name](), _dtype(node)) for name, node in self.inputs.items()}

    def _takes_text(self) -> bool:
        return "input_ids" in self.inputs and all(name in _TEXT_INPUTS for name in self.inputs)

    def _text_tokenizer(self) -> Tokenizer:
        if self.tokenizer is not None:
            return self.tokenizer
        if not self._takes_text():
            names = ", ".join(self.inputs)
            raise UnsupportedError(f"texts: expected a model with input_ids, got one that takes {names} (pass a dict)")
        raise UnsupportedError(f"texts: expected a tokenizer.json beside {self.folder.model.name}, got none")

    def _probe_dim(self) -> int:
        if not self._takes_text():
            raise UnsupportedError("dim: expected a model that states its output shape, got one that does not")
        ids, lengths = np.ones((1, 2), np.int64), np.array([2])
        return int(pool_methods.pool(self._run(self._feed(ids, lengths)), lengths, self.pooling).shape[1])

    # -- named arrays

    def encode_inputs(self, inputs: Mapping[str, Any], batch_items: int, report: Report | None = None) -> np.ndarray:
        """Vectors (n, dim) f32 of n items given as named arrays whose first axis is the items."""
        arrays = self._checked_inputs(inputs)
        count = len(next(iter(arrays.values())))
        parts = []
        for start in range(0, count, batch_items):
            feed = {name: array[start : start + batch_items] for name, array in arrays.items()}
            output = self._run(feed)
            rows = len(next(iter(feed.values())))
            if output.ndim < 2 or len(output) != rows:
                raise ArgumentError(f"output: expected {rows} rows from {self.output.name!r}, got shape {output.shape}")
            vectors = pool_methods.pool(output, _lengths(feed, output), self.pooling)
            pool_methods.check_finite(vectors, self.name)
            parts.append(vectors)
            if report is not None:
                report(rows)
        return np.concatenate(parts) if parts else np.empty((0, self.dim), np.float32)

    def _checked_inputs(self, inputs: Mapping[str, Any]) -> dict[str, np.ndarray]:
        missing, unknown = set(self.inputs) - set(inputs), set(inputs) - set(self.inputs)
        if missing or unknown:
            raise ArgumentError(
                f"inputs: expected exactly {sorted(self.inputs)}, got {sorted(map(str, inputs))}"
                + (f" (missing {sorted(missing)})" if missing else "")
            )
        arrays = {name: _as_input(inputs[name], node) for name, node in self.inputs.items()}
        counts = {name: len(array) for name, array in arrays.items()}
        if len(set(counts.values())) > 1:
            raise ArgumentError(f"inputs: expected one number of items in all, got {counts}")
        return arrays

    # -- the session

    def _run(self, feed: dict[str, np.ndarray]) -> np.ndarray:
        if self._pid != os.getpid():  # a forked child: the runtime's threads did not come along
            with self._lock:
                if self._pid != os.getpid():
                    self._session = self._open_session()
        try:
            (result,) = self._session.run([self.output.name], feed)
        except Exception as error:  # the runtime's errors have no common public base
            raise ArgumentError(
                f"{self.name}: expected inputs that the model can run, got {_first_line(error)}"
            ) from error
        return np.asarray(result)

    def _open_session(self) -> Any:
        ort = runtime()
        wanted = self.settings.device
        providers = providers_for(ort, wanted)
        try:
            session = ort.InferenceSession(str(self.folder.model), self._options(ort), providers=providers)
        except Exception as error:
            reason = _first_line(error)
            raise FormatError(f"{self.name}: expected a model that ONNX Runtime can load, got {reason}") from error
        self._pid = os.getpid()
        self._settle_device(ort, session, wanted, providers)
        return session

    def _options(self, ort: Any) -> Any:
        options = ort.SessionOptions()
        options.intra_op_num_threads = self.settings.threads or usable_cores()
        options.inter_op_num_threads = 1
        options.enable_mem_pattern = False  # patterns are kept for every shape seen: memory that only grows
        options.log_severity_level = 3
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        return options

    def _settle_device(self, ort: Any, session: Any, wanted: str, providers: Sequence[Any]) -> None:
        """The runtime falls back to the CPU in silence; only the session's providers tell. So compare."""
        got = device_of(session.get_providers()[0])
        if wanted.startswith("cuda") and got != "cuda":
            raise UnsupportedError(f"device: expected {wanted!r}, got a session on the CPU ({missing_cuda(ort)})")
        if wanted == "auto" and "auto" not in _said:
            _said.add("auto")
            reason = "" if got == "cuda" else f" ({missing_cuda(ort)})"
            level = logging.WARNING if len(providers) > 1 and got == "cpu" else logging.INFO
            _log.log(level, "encoder device: %s%s", got, reason)


def _choose_output(outputs: Sequence[Any], name: str | None) -> Any:
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


def _dtype(node: Any) -> Any:
    if node.type not in _DTYPES:
        raise UnsupportedError(f"inputs: expected numbers, got an input {node.name!r} of type {node.type}")
    return _DTYPES[node.type]


def _as_input(value: Any, node: Any) -> np.ndarray:
    """The value as a C-contiguous array of the input's dtype and number of dimensions."""
    dtype = _dtype(node)
    array = np.asarray(value)
    if array.dtype.kind not in "biuf" or not np.can_cast(array.dtype, dtype, "same_kind"):
        raise ArgumentError(f"inputs[{node.name!r}]: expected {np.dtype(dtype)}, got {array.dtype}")
    shape = list(node.shape or [])
    fits = array.ndim == len(shape) and all(
        not isinstance(want, int) or want == have for want, have in zip(shape[1:], array.shape[1:], strict=True)
    )
    if array.ndim == 0 or not fits:
        raise ArgumentError(f"inputs[{node.name!r}]: expected shape {tuple(shape)}, got {array.shape}")
    result: np.ndarray = np.ascontiguousarray(array, dtype)
    return result


def _lengths(feed: Mapping[str, np.ndarray], output: np.ndarray) -> np.ndarray:
    """Real positions of each item: from an attention mask of the output's length, else all of them."""
    mask = feed.get("attention_mask")
    if output.ndim == 3 and mask is not None and mask.shape == output.shape[:2]:
        lengths: np.ndarray = np.asarray(mask, np.int64).sum(axis=1)
        return lengths
    return np.full(len(output), output.shape[1], np.int64)


def _hash_file(digest: Any, path: Path) -> None:
    with path.open("rb") as file:
        while block := file.read(1 << 24):
            digest.update(block)


def _first_line(error: BaseException) -> str:
    return (str(error).strip() or type(error).__name__).split("\n")[0][:300]
