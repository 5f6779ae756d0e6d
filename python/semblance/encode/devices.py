"""Which device a session runs on, and what is missing when it is not the one that was asked for."""

from __future__ import annotations

import ctypes
import re
from typing import Any

from ..errors import ArgumentError, UnsupportedError

CUDA = "CUDAExecutionProvider"
TENSORRT = "TensorrtExecutionProvider"
CPU = "CPUExecutionProvider"
_DEVICE = re.compile(r"auto|cpu|(cuda|tensorrt)(:\d+)?")
_INSTALL = "pip uninstall -y onnxruntime; pip install 'semblance[gpu]'"
# sonames that the CUDA 13 and CUDA 12 builds of ONNX Runtime load, in the order of dependence
_LIBRARIES = {
    13: ("libcuda.so.1", "libcudart.so.13", "libcublasLt.so.13", "libcublas.so.13", "libcurand.so.10", "libcudnn.so.9"),
    12: ("libcuda.so.1", "libcudart.so.12", "libcublasLt.so.12", "libcublas.so.12", "libcurand.so.10", "libcudnn.so.9"),
}


def check_device(device: object) -> str:
    """The device as given; ArgumentError unless it is "auto", "cpu", "cuda", "cuda:N" or "tensorrt"."""
    if not isinstance(device, str) or not _DEVICE.fullmatch(device):
        raise ArgumentError(f"device: expected 'auto', 'cpu', 'cuda', 'cuda:0' or 'tensorrt', got {device!r}")
    return device


def providers_for(ort: Any, device: str, cuda_graphs: bool = False) -> list[Any]:
    """Execution providers to ask for; UnsupportedError when CUDA or TensorRT is asked of a runtime built without it."""
    if device == "cpu":
        return [CPU]
    if CUDA not in ort.get_available_providers():
        if device == "auto":
            return [CPU]
        raise UnsupportedError(f"device: expected {device!r}, got an ONNX Runtime without CUDA ({_INSTALL})")
    kind, _, ordinal = device.partition(":")
    if kind == "tensorrt" and TENSORRT not in ort.get_available_providers():
        raise UnsupportedError(f"device: expected {device!r}, got an ONNX Runtime built without TensorRT")
    if hasattr(ort, "preload_dlls"):
        ort.preload_dlls()
    chosen = {"device_id": int(ordinal or 0)}
    if kind == "tensorrt":
        return [(TENSORRT, chosen), (CUDA, chosen), CPU]
    return [(CUDA, {**chosen, "enable_cuda_graph": "1"} if cuda_graphs else chosen), CPU]


def device_of(provider: str) -> str:
    """Our name of an execution provider."""
    return {CUDA: "cuda", TENSORRT: "tensorrt", CPU: "cpu"}.get(
        provider, provider.removesuffix("ExecutionProvider").lower()
    )


def missing_cuda(ort: Any) -> str:
    """Why CUDA does not run here, with the line that would help."""
    if CUDA not in ort.get_available_providers():
        return f"this ONNX Runtime is built without CUDA: {_INSTALL}"
    version = 12 if str(getattr(ort, "cuda_version", "13")).startswith("12") else 13
    for library in _LIBRARIES[version]:
        try:
            ctypes.CDLL(library)
        except OSError:
            extra = "gpu" if version == 13 else "gpu-cu12"
            hint = "install the NVIDIA driver" if library == "libcuda.so.1" else f"pip install 'semblance[{extra}]'"
            return f"{library} cannot be loaded: {hint}"
    return "the CUDA provider refused to start: set ORT logging to see why"


def missing_tensorrt(ort: Any) -> str:
    """Why TensorRT does not run here, with the line that would help."""
    for library in ("libnvinfer.so.10", "libnvonnxparser.so.10"):
        try:
            ctypes.CDLL(library)
        except OSError:
            return f"{library} cannot be loaded: pip install tensorrt"
    return missing_cuda(ort)
