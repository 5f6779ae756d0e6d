"""What a sentence-transformers folder lists after the pooling: linear layers with an activation, and unit length."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import FormatError, UnsupportedError
from .pooling import Array, unit

MAX_WEIGHT_BYTES = 4 << 30
_WEIGHTS, _PICKLE = "model.safetensors", "pytorch_model.bin"
_DTYPES = {"F64": "<f8", "F32": "<f4", "F16": "<f2", "BF16": "<u2"}
_erf = np.vectorize(math.erf, otypes=[np.float32])

ACTIVATIONS: dict[str, Callable[[Array], Array]] = {  # by the names of torch.nn
    "Identity": lambda x: x,
    "Tanh": np.tanh,
    "ReLU": lambda x: np.maximum(x, 0),
    "Sigmoid": lambda x: (1 / (1 + np.exp(-x))).astype(np.float32),
    "GELU": lambda x: (x * (1 + _erf(x * np.float32(math.sqrt(0.5)))) / 2).astype(np.float32),
}


@dataclass(frozen=True)
class Dense:
    """``activation(weight @ vector + bias)`` of each vector: (n, in) → (n, out) f32."""

    folder: Path
    weight: Array  # (out, in)
    bias: Array  # (out,)
    activation: str  # of `ACTIVATIONS`

    def __call__(self, vectors: Array) -> Array:
        """Apply to (n, in) vectors; FormatError where they are of another width."""
        outputs, inputs = self.weight.shape
        if vectors.shape[1] != inputs:
            got = f"{vectors.shape[1]} from the pooling or module before it"
            raise FormatError(f"{self.folder.name}: expected vectors of {inputs} dimensions, got {got}")
        # a product a vector: one product of all would round by the size of the batch
        each = np.matmul(self.weight, vectors[:, :, None]).reshape(len(vectors), outputs)
        return ACTIVATIONS[self.activation](each + self.bias)

    @property
    def files(self) -> tuple[Path, ...]:
        """What it was read from."""
        return self.folder / "config.json", self.folder / _WEIGHTS


class Normalize:
    """Unit length."""

    files: tuple[Path, ...] = ()

    def __call__(self, vectors: Array) -> Array:
        """Apply to (n, d) vectors."""
        return unit(vectors.copy())


Step = Dense | Normalize


def read_dense(folder: Path, config: Mapping[str, Any], check: Callable[[Path, int], None]) -> Dense:
    """The linear layer of a module's folder.

    Parameters
    ----------
    folder : Path
        Holds ``model.safetensors`` with ``linear.weight`` (out, in) and, where ``config`` says so, ``linear.bias``.
    config : mapping
        Its ``config.json``.
    check : callable
        Told a file and its limit in bytes before it is read; raises where the file must not be.

    Raises
    ------
    FormatError
        Weights that are missing, damaged or of another shape than ``config`` says.
    UnsupportedError
        An activation that is not known, weights in a pickle, or a layer that does not work on the pooled vector.
    """
    name = folder.name
    source = config.get("module_input_name") or "sentence_embedding"
    if source != "sentence_embedding":
        raise UnsupportedError(f"{name}: expected a Dense module on 'sentence_embedding', got one on {source!r}")
    activation = str(config.get("activation_function") or "Tanh").rsplit(".", 1)[-1]  # Tanh is the library's default
    if activation not in ACTIVATIONS:
        raise UnsupportedError(f"{name}: expected an activation among {', '.join(ACTIVATIONS)}, got {activation!r}")
    path = folder / _WEIGHTS
    if not path.is_file():
        if (folder / _PICKLE).is_file():
            hint = "a pickle, which is never opened (write it with safetensors.torch.save_file)"
            raise UnsupportedError(f"{name}: expected {_WEIGHTS}, got {_PICKLE}, {hint}")
        raise FormatError(f"{name}: expected the module's weights in {_WEIGHTS}, got no such file")
    check(path, MAX_WEIGHT_BYTES)
    tensors = _tensors(path, name)
    weight = _shaped(tensors, "linear.weight", (config.get("out_features"), config.get("in_features")), name)
    if config.get("bias", True):
        return Dense(folder, weight, _shaped(tensors, "linear.bias", (len(weight),), name), activation)
    return Dense(folder, weight, np.zeros(len(weight), np.float32), activation)


def _tensors(path: Path, name: str) -> dict[str, Array]:
    """All float tensors of a safetensors file as f32."""
    try:
        import safetensors
    except ImportError as error:
        raise UnsupportedError(f"{name}: expected safetensors, got {error} (pip install 'semblance[onnx]')") from error
    try:
        found = dict(safetensors.deserialize(path.read_bytes()))  # type: ignore[no-untyped-call]
    except safetensors.SafetensorError as error:
        raise FormatError(f"{name}/{path.name}: expected a safetensors file, got {error}") from error
    return {key: _floats(part) for key, part in found.items() if part["dtype"] in _DTYPES}


def _floats(part: Mapping[str, Any]) -> Array:
    values = np.frombuffer(part["data"], _DTYPES[part["dtype"]])
    if part["dtype"] == "BF16":  # the upper half of a float32's bits
        values = (values.astype(np.uint32) << 16).view(np.float32)
    return values.astype(np.float32).reshape(part["shape"])


def _shaped(tensors: Mapping[str, Array], key: str, shape: tuple[Any, ...], name: str) -> Array:
    tensor = tensors.get(key)
    if tensor is None or tensor.shape != shape or 0 in tensor.shape or not np.isfinite(tensor).all():
        got = f"{sorted(tensors)}" if tensor is None else f"shape {tensor.shape}, or NaN or inf in it"
        raise FormatError(f"{name}/{_WEIGHTS}: expected finite {key!r} of shape {shape}, got {got}")
    return tensor


def same(left: tuple[Step, ...], right: tuple[Step, ...]) -> bool:
    """Whether two encoders do the same after the pooling."""
    return [_described(step) for step in left] == [_described(step) for step in right]


def _described(step: Step) -> object:
    return (step.activation, step.weight.tobytes(), step.bias.tobytes()) if isinstance(step, Dense) else "unit"


def settings(steps: tuple[Step, ...], first: int) -> list[dict[str, Any]]:
    """The entries of ``modules.json`` for steps, numbered from ``first``; a Dense is stored under its ``path``."""
    kind = "sentence_transformers.models."
    names = [type(step).__name__ for step in steps]
    return [{"idx": place, "name": str(place), "path": f"{place}_{name}", "type": kind + name}
            for place, name in enumerate(names, first)]  # fmt: skip
