"""A small model with numbered layers and learned positions, and the same in NumPy."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from tiny_models import VOCABULARY, write_folder

LAYERS, WIDTH, POSITIONS = 3, 32, 8


def weights() -> dict[str, np.ndarray]:
    """Every weight by its name in the graph."""
    random = np.random.default_rng(3)
    made = {
        "embeddings.word_embeddings.weight": random.normal(size=(len(VOCABULARY), WIDTH)),
        "embeddings.position_embeddings.weight": 0.3 * random.normal(size=(POSITIONS, WIDTH)),
    }
    for layer in range(LAYERS):
        made[f"encoder.layer.{layer}.dense.weight"] = random.normal(size=(WIDTH, WIDTH)) / 6
        made[f"encoder.layer.{layer}.dense.bias"] = random.normal(size=WIDTH) / 6
    return {name: value.astype(np.float32) for name, value in made.items()}


def hidden_states(ids: list[int], positions: np.ndarray | None = None) -> list[np.ndarray]:
    """The state (t, WIDTH) after each layer, for one text; ``positions`` (t, WIDTH) in place of the learned ones."""
    known = weights()
    table = known["embeddings.position_embeddings.weight"]
    state = known["embeddings.word_embeddings.weight"][ids] + (table[: len(ids)] if positions is None else positions)
    states = []
    for layer in range(LAYERS):
        inner = state @ known[f"encoder.layer.{layer}.dense.weight"] + known[f"encoder.layer.{layer}.dense.bias"]
        state = state + np.tanh(inner)
        states.append(state)
    return states


def layered_model(known: dict[str, np.ndarray] | None = None, *, stored_range: bool = False) -> onnx.ModelProto:
    """ids → word + position → LAYERS × (x + tanh(x W + b)); positions sliced from the table, or from a stored range."""
    known = weights() if known is None else known
    names = ("input_ids", "attention_mask")
    inputs = [helper.make_tensor_value_info(name, TensorProto.INT64, ["batch", "tokens"]) for name in names]
    output = helper.make_tensor_value_info("last_hidden_state", TensorProto.FLOAT, ["batch", "tokens", WIDTH])
    constants = {"zero": np.array([0], np.int64), "one": np.array([1], np.int64)}
    table, stop = "embeddings.position_embeddings.weight", "count"
    nodes = [
        helper.make_node("Gather", ["embeddings.word_embeddings.weight", "input_ids"], ["words"]),
        helper.make_node("Shape", ["input_ids"], ["count"], start=1, end=2),
    ]
    if stored_range:
        constants["embeddings.position_ids"] = np.arange(POSITIONS, dtype=np.int64)[None]
        nodes.append(helper.make_node("Slice", ["embeddings.position_ids", "zero", stop, "one"], ["places"]))
        nodes.append(helper.make_node("Gather", [table, "places"], ["positions"]))
    else:
        nodes.append(helper.make_node("Slice", [table, "zero", stop, "zero"], ["positions"]))
    nodes.append(helper.make_node("Add", ["words", "positions"], ["state_0"]))
    for layer in range(LAYERS):
        name, into = f"encoder.layer.{layer}.dense", f"state_{layer}"
        out = "last_hidden_state" if layer == LAYERS - 1 else f"state_{layer + 1}"
        nodes += [
            helper.make_node("MatMul", [into, name + ".weight"], [f"product_{layer}"]),
            helper.make_node("Add", [f"product_{layer}", name + ".bias"], [f"inner_{layer}"]),
            helper.make_node("Tanh", [f"inner_{layer}"], [f"outer_{layer}"]),
            helper.make_node("Add", [into, f"outer_{layer}"], [out]),
        ]
    tensors = [numpy_helper.from_array(value, name) for name, value in {**known, **constants}.items()]
    graph = helper.make_graph(nodes, "layered", inputs, [output], tensors)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def write_layered(folder: Path, model: onnx.ModelProto | None = None) -> Path:
    """The tiny folder with a layered model in it, whose limit is POSITIONS tokens."""
    write_folder(folder, max_tokens=POSITIONS)
    onnx.save(model or layered_model(), folder / "model.onnx")
    return folder
