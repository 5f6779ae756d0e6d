"""Weights in fewer bits: fp16, 8-bit weights with f32 arithmetic, and, only when asked for, dynamic int8."""

from __future__ import annotations

import logging
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from .graph import package
from .onnx import tool

PRECISIONS = ("fp32", "fp16", "w8", "dynamic-int8")
BLOCK = 32  # weights that share a scale
_ZERO = 128  # the code of 0
_log = logging.getLogger("semblance")


def converted(model: Any, precision: str, name: str) -> Any:
    """A model with its weights in ``precision``.

    "fp16" keeps f32 inputs and outputs; CUDA computes in fp16, the CPU widens the rounded weights again. "w8" turns
    the weights of matrix products into 8-bit codes with a scale for every 32 (`MatMulNBits`); products stay f32, so a
    text's vector does not depend on its batch. "dynamic-int8" quantises activations by the range of the whole batch.
    """
    if precision == "fp16":
        half: Any = tool("transformers.float16").convert_float_to_float16(model, keep_io_types=True)
        return half
    if precision == "w8":
        return _with_weights_in_8_bits(model)
    _log.warning("%s: dynamic int8 makes a vector depend on what else is in its batch", name)
    return _with_dynamic_int8(model)


def _with_weights_in_8_bits(model: Any) -> Any:
    onnx = package()
    weights = {tensor.name: tensor for tensor in model.graph.initializer if len(tensor.dims) == 2}
    nodes = list(model.graph.node)
    used = {name for node in nodes for name in node.input if not _is_product(node, weights, name)}
    del model.graph.node[:]
    for node in nodes:
        tensor = weights.get(node.input[1]) if node.op_type == "MatMul" else None
        if tensor is None or tensor.data_type != onnx.TensorProto.FLOAT or tensor.dims[0] % BLOCK:
            model.graph.node.append(node)
            used.update(node.input)
        else:
            model.graph.node.append(_product(onnx, model, node, tensor))
    kept = [tensor for tensor in model.graph.initializer if tensor.name not in weights or tensor.name in used]
    del model.graph.initializer[:]
    model.graph.initializer.extend(kept)
    if not any(entry.domain == "com.microsoft" for entry in model.opset_import):
        model.opset_import.append(onnx.helper.make_opsetid("com.microsoft", 1))
    return model


def _is_product(node: Any, weights: dict[str, Any], name: str) -> bool:
    return node.op_type == "MatMul" and name in weights and node.input[1] == name and node.input[0] != name


def _product(onnx: Any, model: Any, node: Any, tensor: Any) -> Any:
    """A `MatMulNBits` node in place of a MatMul, its codes and scales among the initializers."""
    rows, columns = tensor.dims
    codes, scales = tensor.name + ".codes", tensor.name + ".scales"
    if all(known.name != codes for known in model.graph.initializer):  # a weight may be used twice
        packed, scale = block_codes(onnx.numpy_helper.to_array(tensor))
        model.graph.initializer.append(onnx.numpy_helper.from_array(packed, codes))
        model.graph.initializer.append(onnx.numpy_helper.from_array(scale, scales))
    return onnx.helper.make_node(
        "MatMulNBits", [node.input[0], codes, scales], list(node.output), name=node.name, domain="com.microsoft",
        K=rows, N=columns, bits=8, block_size=BLOCK, accuracy_level=1,
    )  # fmt: skip


def block_codes(weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Codes (N, K / 32, 32) uint8 and scales (N, K / 32) f32 of weights (K, N); a weight is (code - 128) × scale."""
    blocks = np.ascontiguousarray(weights.T, np.float32).reshape(weights.shape[1], -1, BLOCK)
    scales = np.abs(blocks).max(axis=2) / 127
    steps = np.divide(blocks, scales[:, :, None], out=np.zeros_like(blocks), where=scales[:, :, None] > 0)
    return (np.rint(steps) + _ZERO).astype(np.uint8), scales.astype(np.float32)


def _with_dynamic_int8(model: Any) -> Any:
    """ONNX Runtime's own quantiser, which works on files and logs in a way that would set up the root logger."""
    root, held = logging.getLogger(), logging.NullHandler()
    root.addHandler(held)  # a root that has a handler is left alone
    try:
        with tempfile.TemporaryDirectory(prefix="semblance-") as folder:
            path = Path(folder) / "int8.onnx"
            tool("quantization").quantize_dynamic(model, path)
            return package().load(str(path))
    finally:
        root.removeHandler(held)
