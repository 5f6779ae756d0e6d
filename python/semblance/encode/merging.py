"""Model soups: one encoder from the interpolated weights of several of one architecture."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np

from ..errors import ArgumentError
from . import dense, graph
from .encoder import Encoder
from .model import OnnxModel


def merge_encoders(encoders: Sequence[Encoder], weights: Sequence[float] | None = None) -> Encoder:
    """An encoder whose weights are the weighted mean of those of several fine-tuned from one.

    Parameters
    ----------
    encoders : sequence of Encoder
        Two or more ONNX encoders of one architecture and tokenizer.
    weights : sequence of float, optional
        One an encoder, brought to the sum 1; None = equal. Negative ones move away from a model.

    Returns
    -------
    Encoder
        With the settings (device, pooling, dims ...) of the first; as fast as one of them.

    Raises
    ------
    ArgumentError
        Fewer than two, a static one, unequal graphs, tensors or tokenizers, or weights that do not fit.
    UnsupportedError
        The ``onnx`` package is missing.

    Notes
    -----
    Cost: reads every model once; the merged weights live in memory. Only weights of floats are merged, all others
    must be equal. Source: Model soups (Wortsman et al., 2022).

    Examples
    --------
    >>> import semblance as sb
    >>> merged = sb.merge_encoders([sb.Encoder("general"), sb.Encoder("medical")], [0.4, 0.6])      # doctest: +SKIP
    """
    models = [_model(encoder, place) for place, encoder in enumerate(encoders)]
    if len(models) < 2:
        raise ArgumentError(f"encoders: expected two or more, got {len(models)}")
    shares = _shares(weights, len(models))
    tokenizers = {None if model.tokenizer is None else model.tokenizer.definition for model in models}
    if len(tokenizers) > 1:
        raise ArgumentError("encoders: expected one tokenizer in all, got different ones")
    first = models[0]
    if not all(dense.same(first.folder.after, model.folder.after) for model in models):
        raise ArgumentError("encoders: expected the same Dense modules in all, got different ones")
    merged = OnnxModel(first.folder, first.settings, partial(_merged, models, shares))
    merged.name = "merged-" + "-".join(dict.fromkeys(model.name for model in models))
    return Encoder._of(merged, encoders[0]._dims, encoders[0]._instruction)


def _model(encoder: object, place: int) -> OnnxModel:
    model = encoder._model if isinstance(encoder, Encoder) else None
    if not isinstance(model, OnnxModel):
        raise ArgumentError(f"encoders[{place}]: expected an encoder of an ONNX model, got another object")
    return model


def _shares(weights: Sequence[float] | None, count: int) -> np.ndarray:
    given = np.ones(count) if weights is None else np.asarray(weights)
    if given.shape != (count,) or given.dtype.kind not in "iuf" or not np.isfinite(given).all():
        raise ArgumentError(f"weights: expected {count} finite numbers, got {weights!r}")
    if abs(total := float(given.sum())) < 1e-6:
        raise ArgumentError(f"weights: expected a sum other than 0, got {total}")
    shares: np.ndarray = given.astype(np.float64) / total
    return shares


def _merged(models: Sequence[OnnxModel], shares: np.ndarray, weights: bool) -> Any:
    """The first model with the weighted mean of all models' tensors; ``weights`` is always so."""
    onnx = graph.package()
    result, *others = [graph.load(model.folder.model, weights=True) for model in models]
    tensors = [{tensor.name: tensor for tensor in other.graph.initializer} for other in others]
    for place, other in enumerate(others, 1):
        if _shape_of(other) != _shape_of(result):
            raise ArgumentError(f"encoders[{place}]: expected the graph of {models[0].name}, got another architecture")
    for tensor in result.graph.initializer:
        values = [onnx.numpy_helper.to_array(tensor), *(onnx.numpy_helper.to_array(t[tensor.name]) for t in tensors)]
        if values[0].dtype.kind == "f":
            mean = sum(share * value.astype(np.float64) for share, value in zip(shares, values, strict=True))
            tensor.CopyFrom(onnx.numpy_helper.from_array(np.asarray(mean).astype(values[0].dtype), tensor.name))
        elif any(not np.array_equal(values[0], value) for value in values[1:]):
            raise ArgumentError(f"encoders: expected equal integers in {tensor.name!r}, got different ones")
    return result


def _shape_of(model: Any) -> tuple[object, ...]:
    """What two models of one architecture have in common."""
    nodes = tuple((node.op_type, tuple(node.input), tuple(node.output)) for node in model.graph.node)
    tensors = {(tensor.name, tuple(tensor.dims), tensor.data_type) for tensor in model.graph.initializer}
    return nodes, frozenset(tensors)
