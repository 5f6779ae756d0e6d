"""Edits of an ONNX graph before a runtime opens it: a cut at a layer, an open position table. Needs ``onnx``."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import FormatError, UnsupportedError
from .dense import Dense, Step

MAX_SERIALIZED = (1 << 31) - 1  # what a protobuf message can hold
# "encoder.layer.3.attention", "/model/layers.3/mlp", "h.3.attn", "block.3.layer.0": the outermost number counts
_LAYER = re.compile(r"(?:^|[./_])(?:layers?|h|blocks?|resblocks)[./_](\d+)(?=[./_]|$)")
_POSITIONS = re.compile(r"(?:position_embeddings?|embed_positions|wpe|pos_emb\w*)\.weight$")


def package() -> Any:
    """The ``onnx`` package; UnsupportedError with the line to run where it is missing."""
    try:
        import onnx
        import onnx.utils
    except ImportError as error:
        raise UnsupportedError(
            f"onnx: expected the onnx package to edit a model's graph, got {error} (pip install 'semblance[edit]')"
        ) from error
    return onnx


def load(path: Path, weights: bool = False) -> Any:
    """The model of a file; its external tensors stay outside unless ``weights`` are wanted."""
    try:
        return package().load(str(path), load_external_data=weights)
    except UnsupportedError:
        raise
    except Exception as error:  # protobuf's and onnx's own trees
        raise FormatError(f"{path.name}: expected an ONNX file, got {error}") from error


def serialized(model: Any, name: str) -> bytes:
    """The bytes of a model; UnsupportedError where it is larger than an ONNX file can be."""
    if model.ByteSize() > MAX_SERIALIZED:
        raise UnsupportedError(f"{name}: expected a model of at most 2 GiB to edit, got {model.ByteSize()} bytes")
    data: bytes = model.SerializeToString()
    return data


# -- layers


def layer_outputs(model: Any, name: str) -> list[str]:
    """The hidden state after each layer but the last, (n, t, d) tensors, from the names in a graph.

    A node belongs to the layer that its own or its weights' names say, else to the latest one that it reads from. The
    state after layer k is the one float tensor of three axes made in layer k or before and read in a later one.

    Raises
    ------
    UnsupportedError
        The graph has no numbered layers, or more than one tensor passes between two of them.
    """
    known = _shapes(model)
    level, reads = _levels(model)
    count = max(level.values(), default=-1) + 1
    if count < 1:
        raise UnsupportedError(f"layers: expected numbered layers in {name} ('layer.0', 'layers.0', 'h.0'), got none")
    outputs = []
    for layer in range(count - 1):
        passing = [t for t, at in level.items() if at == layer and reads.get(t, -1) > layer and _is_hidden(known, t)]
        if len(passing) != 1:
            raise UnsupportedError(f"layers: expected one tensor after layer {layer} of {name}, got {passing}")
        outputs += passing
    return outputs


def _levels(model: Any) -> tuple[dict[str, int], dict[str, int]]:
    """Tensor → the layer that makes it (-1 before the first), and tensor → the latest layer that reads it."""
    weights = {tensor.name for tensor in model.graph.initializer}
    level: dict[str, int] = {}
    reads: dict[str, int] = {}
    for node in model.graph.node:  # in topological order, as ONNX demands
        own = _number([node.name, *(name for name in node.input if name in weights)])
        at = max([own, *(level.get(name, -1) for name in node.input)])
        for name in node.input:
            reads[name] = max(reads.get(name, -1), at)
        for name in node.output:
            level[name] = at
    return level, reads


def _number(names: Iterable[str]) -> int:
    found = [int(match.group(1)) for name in names if (match := _LAYER.search(name))]
    return max(found, default=-1)


def _shapes(model: Any) -> dict[str, Any]:
    """Tensor → its type, as far as it can be told without running anything."""
    inferred = package().shape_inference.infer_shapes(model)
    return {value.name: value.type.tensor_type for value in inferred.graph.value_info}


def _is_hidden(known: dict[str, Any], name: str) -> bool:
    onnx = package()
    floats = (onnx.TensorProto.FLOAT, onnx.TensorProto.FLOAT16, onnx.TensorProto.DOUBLE)
    kind = known.get(name)
    return kind is not None and kind.elem_type in floats and (not kind.HasField("shape") or len(kind.shape.dim) == 3)


def with_outputs(model: Any, names: Sequence[str]) -> Any:
    """The part of a model that ``names`` need, with them as its outputs; what nothing needs is gone."""
    onnx = package()
    inferred = onnx.shape_inference.infer_shapes(model)
    stated = {value.name for value in (*inferred.graph.value_info, *inferred.graph.output)}
    missing = [onnx.helper.make_tensor_value_info(n, onnx.TensorProto.FLOAT, None) for n in names if n not in stated]
    inferred.graph.value_info.extend(missing)
    inputs = [node.name for node in model.graph.input]
    return onnx.utils.Extractor(inferred).extract_model(inputs, list(names))


# -- positions


@dataclass(frozen=True)
class Positions:
    """A model's table of positions: its input's name and its rows (positions, d)."""

    name: str
    rows: np.ndarray


def open_positions(model: Any, folder: Path, most: int) -> Positions | None:
    """Make the position table of a model an input that may be fed, for up to ``most`` positions.

    A weight that is also an input is a default that a feed overrides. Where the positions themselves are a stored
    range (as exports of PyTorch have them), it is made long enough. None where the model has no such table, as with
    rotary positions.
    """
    onnx = package()
    found = [t for t in model.graph.initializer if _POSITIONS.search(t.name) and len(t.dims) == 2]
    if len(found) != 1:
        return None
    rows = onnx.numpy_helper.to_array(found[0], base_dir=str(folder))
    kind = onnx.helper.make_tensor_value_info(found[0].name, found[0].data_type, ["positions", found[0].dims[1]])
    model.graph.input.append(kind)
    for tensor in model.graph.initializer:
        if tensor.data_type == onnx.TensorProto.INT64 and _is_range(onnx, tensor, len(rows)):
            longer = np.arange(most, dtype=np.int64).reshape([1] * (len(tensor.dims) - 1) + [most])
            tensor.CopyFrom(onnx.numpy_helper.from_array(longer, tensor.name))
    return Positions(found[0].name, rows)


def _is_range(onnx: Any, tensor: Any, count: int) -> bool:
    """Whether a tensor holds the positions 0, 1, 2 … of all rows of the table."""
    if list(tensor.dims) not in ([count], [1, count]) or tensor.data_location == onnx.TensorProto.EXTERNAL:
        return False
    return bool(np.array_equal(onnx.numpy_helper.to_array(tensor).reshape(-1), np.arange(count)))


# -- pooling


def with_pooling(model: Any, output: str, method: str, dims: int | None, after: Sequence[Step] = ()) -> Any:
    """A model whose only output is ``vectors``: (n, dims) f32 of unit length, pooled from ``output`` by the graph.

    ``after`` is what a folder does to the pooled vectors before they are cut to ``dims``.

    Raises
    ------
    UnsupportedError
        Another pooling than "mean" and "cls", or an operator set before 13.
    """
    onnx = package()
    opset = max(entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx"))
    if method not in ("mean", "cls", "pooled") or opset < 13:
        raise UnsupportedError(f"device: expected pooling 'mean' or 'cls' and opset 13 or later, got {method}, {opset}")
    node = onnx.helper.make_node
    numbers = {"sb_zero": 0, "sb_one": 1, "sb_last": -1, "sb_dims": dims or 0}
    made: list[Any] = []
    if method == "cls":
        made = [
            node("Gather", [output, "sb_zero"], ["sb_first"], axis=1),
            node("Squeeze", ["sb_first", "sb_one"], ["sb_pooled"]),
        ]
    elif method == "mean":
        made = [
            node("Cast", ["attention_mask"], ["sb_mask"], to=onnx.TensorProto.FLOAT),
            node("Unsqueeze", ["sb_mask", "sb_last"], ["sb_weights"]),
            node("Mul", [output, "sb_weights"], ["sb_real"]),
            node("ReduceSum", ["sb_real", "sb_one"], ["sb_sums"], keepdims=0),
            node("ReduceSum", ["sb_mask", "sb_one"], ["sb_counts"], keepdims=1),
            node("Div", ["sb_sums", "sb_counts"], ["sb_pooled"]),
        ]
    pooled = "sb_pooled" if made else output
    tensors = [onnx.numpy_helper.from_array(np.array([value], np.int64), name) for name, value in numbers.items()]
    for place, step in enumerate(after):
        pooled, nodes, weights = _step_nodes(onnx, step, pooled, f"sb_after{place}")
        made += nodes
        tensors += weights
    if dims is not None:
        made.append(node("Slice", [pooled, "sb_zero", "sb_dims", "sb_one"], ["sb_short"]))
        pooled = "sb_short"
    made.append(node("LpNormalization", [pooled], ["vectors"], axis=1, p=2))
    model.graph.node.extend(made)
    model.graph.initializer.extend(tensors)
    del model.graph.output[:]
    model.graph.output.append(onnx.helper.make_tensor_value_info("vectors", onnx.TensorProto.FLOAT, ["batch", dims]))
    return model


def _step_nodes(onnx: Any, step: Step, source: str, name: str) -> tuple[str, list[Any], list[Any]]:
    """What a step after the pooling is in a graph: its output's name, its nodes, its weights."""
    node = onnx.helper.make_node
    if not isinstance(step, Dense):
        return name, [node("LpNormalization", [source], [name], axis=1, p=2)], []
    constants = {"weight": step.weight, "bias": step.bias}
    nodes = [node("Gemm", [source, f"{name}_weight", f"{name}_bias"], [f"{name}_line"], transB=1)]
    if step.activation == "GELU":  # an operator of its own only from opset 20 on
        numbers = {"root": 0.5**0.5, "one": 1.0, "half": 0.5}
        constants |= {key: np.array([value], np.float32) for key, value in numbers.items()}
        nodes += [
            node("Mul", [f"{name}_line", f"{name}_root"], [f"{name}_scaled"]),
            node("Erf", [f"{name}_scaled"], [f"{name}_erf"]),
            node("Add", [f"{name}_erf", f"{name}_one"], [f"{name}_gate"]),
            node("Mul", [f"{name}_gate", f"{name}_half"], [f"{name}_share"]),
            node("Mul", [f"{name}_line", f"{name}_share"], [name]),
        ]
    else:
        kind = {"ReLU": "Relu"}.get(step.activation, step.activation)  # the others' names are equal
        nodes.append(node(kind, [f"{name}_line"], [name]))
    return name, nodes, [onnx.numpy_helper.from_array(value, f"{name}_{key}") for key, value in constants.items()]
