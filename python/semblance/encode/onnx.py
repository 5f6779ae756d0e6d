"""ONNX Runtime: the only module that imports it, and only when a model is opened."""

from __future__ import annotations

import importlib
import logging
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import ArgumentError, FormatError, UnsupportedError
from .batching import usable_cores
from .devices import device_of, missing_cuda, missing_tensorrt, providers_for
from .forks import renew_in_child
from .replays import Replays, run_options

Feed = Mapping[str, np.ndarray]
_log = logging.getLogger("semblance")
_said: set[str] = set()
_orphans: list[Any] = []  # sessions of a parent process


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


def tool(name: str) -> Any:
    """One of the runtime's own model tools, such as "quantization"; UnsupportedError where it lacks a package."""
    runtime()
    try:
        return importlib.import_module(f"onnxruntime.{name}")
    except ImportError as error:
        raise UnsupportedError(
            f"onnx: expected onnxruntime's {name}, got {error} (pip install 'semblance[edit]')"
        ) from error


def _installed(name: str) -> bool:
    try:
        metadata.version(name)
    except metadata.PackageNotFoundError:
        return False
    return True


@dataclass(frozen=True)
class Source:
    """A model to open: its file, or what ``edit`` makes of it, whose external data lies beside the file."""

    path: Path
    edit: Callable[[], bytes] | None = None  # made anew in a forked child, rather than kept


class Session:
    """A model opened by ONNX Runtime, shared by threads and opened again in a forked child.

    Parameters
    ----------
    source : Source
        What to open.
    name : str
        Named in errors.
    device : str
        "auto", "cpu", "cuda", "cuda:N" or "tensorrt".
    threads : int
        0 = the cores that affinity and control group allow.
    cuda_graphs : bool
        Replay small batches as CUDA graphs; with a CUDA device.

    Raises
    ------
    FormatError
        ONNX Runtime cannot load the model.
    UnsupportedError
        The runtime or the device is missing.

    Notes
    -----
    One call runs at a time, on all of the session's threads: callers from many threads take turns instead of
    crowding the cores.
    """

    def __init__(
        self, source: Source, name: str, device: str = "auto", threads: int = 0, cuda_graphs: bool = False
    ) -> None:
        self._source, self._name, self._wanted = source, name, device
        self._cuda_graphs = cuda_graphs
        self._replays: Replays | None = None
        self._usual: tuple[Any, ...] = ()  # what a run that is no CUDA graph is told, where others are
        self.threads = threads or usable_cores()
        self._turn = threading.Lock()
        self._session = self._open()
        self.device = device_of(self._session.get_providers()[0])
        self.inputs: dict[str, Any] = {node.name: node for node in self._session.get_inputs()}
        self.outputs: dict[str, Any] = {node.name: node for node in self._session.get_outputs()}
        renew_in_child(self)

    def run(self, outputs: Sequence[str], feed: Feed) -> list[np.ndarray]:
        """The named outputs for the fed inputs.

        Raises
        ------
        ArgumentError
            The model cannot run on these inputs.
        """
        with self._turn:
            session = self._opened()
            try:
                replayed = None if self._replays is None else self._replays.run(outputs, feed)
                if replayed is not None:
                    return replayed
                return [np.asarray(value) for value in session.run(list(outputs), dict(feed), *self._usual)]
            except Exception as error:  # the runtime's errors have no common public base
                raise self._cannot_run(error) from error

    def run_on_device(self, output: str, feed: Feed) -> Any:
        """One output, left on the session's device: an object with ``__dlpack__``.

        Inputs are copied to the device by the binding; nothing comes back to the host.
        """
        ort = runtime()
        kind, _, ordinal = self.place.partition(":")
        with self._turn:
            session = self._opened()
            try:
                binding = session.io_binding()
                for name, array in feed.items():
                    value = ort.OrtValue.ortvalue_from_numpy(array, kind, int(ordinal or 0))
                    binding.bind_ortvalue_input(name, value)
                binding.bind_output(output, kind, int(ordinal or 0))
                binding.synchronize_inputs()
                session.run_with_iobinding(binding, *self._usual)
                binding.synchronize_outputs()  # whoever reads them may use another stream
                return binding.get_outputs()[0]
            except Exception as error:
                raise self._cannot_run(error) from error

    @property
    def place(self) -> str:
        """The device whose memory it uses, with its number, as "cuda:1"; "cpu" without one."""
        kind, _, ordinal = self._wanted.partition(":")
        where = "cuda" if self.device == "tensorrt" else self.device
        return f"{where}:{ordinal}" if ordinal and kind == self.device else where

    def after_fork(self) -> None:
        """In a child the runtime's threads are gone: open again at the next run, with a lock that nobody holds.

        The parent's session is kept but never touched, for its end would wait for those threads.
        """
        self._turn = threading.Lock()
        if self._session is not None:
            _orphans.append((self._session, self._replays))
        self._session = self._replays = None

    def _opened(self) -> Any:
        if self._session is None:
            self._session = self._open()
        return self._session

    def _open(self) -> Any:
        ort = runtime()
        providers = providers_for(ort, self._wanted, self._cuda_graphs)
        model = str(self._source.path) if self._source.edit is None else self._source.edit()
        try:
            session = ort.InferenceSession(model, self._options(ort), providers=providers)
        except Exception as error:
            reason = _first_line(error)
            if self._cuda_graphs and "graph capture" in str(error).lower():
                want = "a model that runs on the GPU as a whole"
                raise UnsupportedError(f"cuda_graphs: expected {want}, got {self._name}: {reason}") from error
            raise FormatError(f"{self._name}: expected a model that ONNX Runtime can load, got {reason}") from error
        self._settle_device(ort, session, providers)
        if self._cuda_graphs:
            ordinal = int(self._wanted.partition(":")[2] or 0)
            self._replays, self._usual = Replays(ort, session, "cuda", ordinal), (run_options(ort, -1),)
        return session

    def _options(self, ort: Any) -> Any:
        options = ort.SessionOptions()
        options.intra_op_num_threads = self.threads
        options.inter_op_num_threads = 1
        options.enable_mem_pattern = False  # patterns are kept for every shape seen: memory that only grows
        options.log_severity_level = 4  # what goes wrong is raised, not printed
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        if self._source.edit is not None:
            folder = str(self._source.path.parent)
            options.add_session_config_entry("session.model_external_initializers_file_folder_path", folder)
        return options

    def _settle_device(self, ort: Any, session: Any, providers: Sequence[Any]) -> None:
        """The runtime falls back to the CPU in silence; only the session's providers tell. So compare."""
        got = device_of(session.get_providers()[0])
        kind = self._wanted.partition(":")[0]
        if kind in ("cuda", "tensorrt") and got != kind:
            reason = missing_cuda(ort) if kind == "cuda" else missing_tensorrt(ort)
            where = {"cpu": "the CPU"}.get(got, got)
            raise UnsupportedError(f"device: expected {self._wanted!r}, got a session on {where} ({reason})")
        if self._wanted == "auto" and "auto" not in _said:
            _said.add("auto")
            reason = "" if got == "cuda" else f" ({missing_cuda(ort)})"
            level = logging.WARNING if len(providers) > 1 and got == "cpu" else logging.INFO
            _log.log(level, "encoder device: %s%s", got, reason)

    def _cannot_run(self, error: Exception) -> ArgumentError:
        return ArgumentError(f"{self._name}: expected inputs that the model can run, got {_first_line(error)}")


def _first_line(error: BaseException) -> str:
    return (str(error).strip() or type(error).__name__).split("\n")[0][:300]
