"""Models of any signature: images, audio, tables, graphs, coordinates, shared inputs, states, several outputs."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from tiny_models import unit

import semblance as sb

F32, I64 = TensorProto.FLOAT, TensorProto.INT64
Shapes = dict[str, tuple[int, list[object]]]
Weights = dict[str, np.ndarray]
RANDOM = np.random.default_rng(11)


def save(
    path: Path,
    nodes: list[onnx.NodeProto],
    inputs: Shapes,
    outputs: Shapes,
    weights: Weights | None = None,
) -> Path:
    """A model file from its parts; shapes are name → (element type, axes)."""
    graph = helper.make_graph(
        nodes, "g",
        [helper.make_tensor_value_info(name, kind, shape) for name, (kind, shape) in inputs.items()],
        [helper.make_tensor_value_info(name, kind, shape) for name, (kind, shape) in outputs.items()],
        [numpy_helper.from_array(value, name) for name, value in (weights or {}).items()],
    )  # fmt: skip
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
    return path


def f32(*shape: int) -> np.ndarray:
    return RANDOM.normal(size=shape).astype(np.float32)


def test_images_through_a_convolution(tmp_path: Path) -> None:
    kernel = f32(4, 3, 1, 1)
    nodes = [
        helper.make_node("Conv", ["pixel_values", "kernel"], ["maps"]),
        helper.make_node("GlobalAveragePool", ["maps"], ["means"]),
        helper.make_node("Flatten", ["means"], ["image_embeds"]),
    ]
    inputs: Shapes = {"pixel_values": (F32, ["batch", 3, "h", "w"])}
    path = save(tmp_path / "m.onnx", nodes, inputs, {"image_embeds": (F32, ["batch", 4])}, {"kernel": kernel})
    pixels = f32(10, 3, 5, 6)
    expected = unit(pixels.mean(axis=(2, 3)) @ kernel[:, :, 0, 0].T)
    np.testing.assert_allclose(sb.Encoder(path).encode({"pixel_values": pixels}, batch_tokens=3), expected, atol=1e-5)


def audio_model(path: Path) -> Path:
    """Frames (n, t, 3) → every second one (n, ceil(t / 2), 3); the lengths change nothing."""
    nodes = [
        helper.make_node("Slice", ["frames", "zero", "end", "one", "two"], ["hidden"]),
        helper.make_node("Identity", ["frame_lengths"], ["unused"]),
    ]
    constants = {"zero": [0], "end": [1 << 40], "one": [1], "two": [2]}
    return save(
        path, nodes, {"frames": (F32, ["batch", "time", 3]), "frame_lengths": (I64, ["batch"])},
        {"hidden": (F32, ["batch", "half", 3]), "unused": (I64, ["batch"])},
        {name: np.array(value, np.int64) for name, value in constants.items()},
    )  # fmt: skip


@pytest.mark.parametrize("pooling", ["mean", "max", "last"])
def test_audio_frames_are_pooled_within_their_lengths(tmp_path: Path, pooling: str) -> None:
    encoder = sb.Encoder(audio_model(tmp_path / "m.onnx"), pooling=pooling)
    frames, lengths = f32(3, 8, 3), np.array([8, 5, 1])
    got = encoder.encode({"frames": frames, "frame_lengths": lengths}, normalize=False)
    for vector, clip, length in zip(got, frames, lengths, strict=True):
        real = clip[::2][: -(-length // 2)]
        expected = {"mean": real.mean(axis=0), "max": real.max(axis=0), "last": real[-1]}[pooling]
        np.testing.assert_allclose(vector, expected, atol=1e-6)


def test_columns_of_a_table(tmp_path: Path) -> None:
    """Numbers, a category looked up, and a scalar that all rows share."""
    rows = f32(5, 2)
    nodes = [
        helper.make_node("Gather", ["rows", "country"], ["looked_up"]),
        helper.make_node("Concat", ["numbers", "looked_up"], ["wide"], axis=1),
        helper.make_node("Mul", ["wide", "temperature"], ["row_embedding"]),
    ]
    inputs: Shapes = {"numbers": (F32, ["n", 3]), "country": (I64, ["n"]), "temperature": (F32, [])}
    path = save(tmp_path / "m.onnx", nodes, inputs, {"row_embedding": (F32, ["n", 5])}, {"rows": rows})
    numbers, country = f32(70, 3), RANDOM.integers(0, 5, 70)
    given = {"numbers": numbers, "country": country, "temperature": np.float32(0.5)}
    got = sb.Encoder(path).encode(given, batch_tokens=9, normalize=False)
    np.testing.assert_allclose(got, 0.5 * np.concatenate([numbers, rows[country]], axis=1), rtol=1e-6)


def graph_model(path: Path) -> Path:
    """Nodes (nodes, 2) and edge_index (2, edges) → each node's features plus its sources' sum."""
    nodes = [
        helper.make_node("Gather", ["edge_index", "zero"], ["from"], axis=0),
        helper.make_node("Gather", ["edge_index", "one"], ["to"], axis=0),
        helper.make_node("Gather", ["x", "from"], ["messages"]),
        helper.make_node("Unsqueeze", ["to", "last"], ["places"]),
        helper.make_node("ScatterND", ["x", "places", "messages"], ["node_embedding"], reduction="add"),
    ]
    constants = {"zero": np.array(0), "one": np.array(1), "last": np.array([-1])}
    return save(
        path, nodes, {"x": (F32, ["nodes", 2]), "edge_index": (I64, [2, "edges"])},
        {"node_embedding": (F32, ["nodes", 2])}, {name: value.astype(np.int64) for name, value in constants.items()},
    )  # fmt: skip


def test_a_graph_runs_as_a_whole(tmp_path: Path) -> None:
    encoder = sb.Encoder(graph_model(tmp_path / "m.onnx"))
    x, edges = f32(100, 2), np.stack([RANDOM.integers(0, 100, 300), RANDOM.integers(0, 100, 300)])
    expected = x.copy()
    np.add.at(expected, edges[1], x[edges[0]])
    got = encoder.encode({"x": x, "edge_index": edges}, batch_tokens=7, normalize=False)  # cannot be cut into batches
    np.testing.assert_allclose(got, expected, atol=1e-5)
    assert encoder.encode({"x": x[:1], "edge_index": edges[:, :0]}).shape == (1, 2)
    with pytest.raises(sb.ArgumentError, match="expected inputs that the model can run"):
        encoder.encode({"x": x, "edge_index": edges + 100})


def test_coordinates_as_waves(tmp_path: Path) -> None:
    waves = f32(2, 8)
    nodes = [
        helper.make_node("MatMul", ["lat_lon", "waves"], ["angles"]),
        helper.make_node("Sin", ["angles"], ["sine"]),
        helper.make_node("Cos", ["angles"], ["cosine"]),
        helper.make_node("Concat", ["sine", "cosine"], ["place"], axis=1),
    ]
    path = save(tmp_path / "m.onnx", nodes, {"lat_lon": (F32, ["n", 2])}, {"place": (F32, ["n", 16])}, {"waves": waves})
    where = f32(33, 2)
    expected = unit(np.concatenate([np.sin(where @ waves), np.cos(where @ waves)], axis=1))
    np.testing.assert_allclose(sb.Encoder(path).encode({"lat_lon": where.astype(np.float64)}), expected, atol=1e-5)


def test_a_model_of_a_fixed_batch_is_fed_so_many_at_a_time(tmp_path: Path) -> None:
    node = helper.make_node("Neg", ["x"], ["y"])
    encoder = sb.Encoder(save(tmp_path / "m.onnx", [node], {"x": (F32, [2, 3])}, {"y": (F32, [2, 3])}))
    x = f32(8, 3)
    np.testing.assert_array_equal(encoder.encode({"x": x}, normalize=False), -x)
    with pytest.raises(sb.ArgumentError, match="multiples of the model's batch 2, got 3"):
        encoder.encode({"x": x[:3]})


def two_heads(path: Path) -> Path:
    """x → its double, its sign as an integer, and a vector a position."""
    nodes = [
        helper.make_node("Add", ["x", "x"], ["double"]),
        helper.make_node("Sign", ["x"], ["signs"]),
        helper.make_node("Cast", ["signs"], ["sign"], to=I64),
        helper.make_node("Unsqueeze", ["x", "axis"], ["each"]),
    ]
    outputs: Shapes = {"double": (F32, ["n", 3]), "sign": (I64, ["n", 3]), "each": (F32, ["n", 3, 1])}
    return save(path, nodes, {"x": (F32, ["n", 3])}, outputs, {"axis": np.array([-1])})


def test_outputs_by_name(tmp_path: Path) -> None:
    path, x = two_heads(tmp_path / "m.onnx"), f32(4, 3)
    encoder = sb.Encoder(path, output="double")
    np.testing.assert_allclose(encoder.encode({"x": x}, normalize=False), 2 * x)
    every = encoder.run({"x": x})
    assert {name: (value.shape, str(value.dtype)) for name, value in every.items()} == {
        "double": ((4, 3), "float32"), "sign": ((4, 3), "int64"), "each": ((4, 3, 1), "float32"),
    }  # fmt: skip
    assert list(encoder.run({"x": x}, ["sign"])) == ["sign"]
    assert np.array_equal(encoder.run({"x": x}, ["sign"])["sign"], np.sign(x))
    np.testing.assert_allclose(sb.Encoder(path).encode({"x": x}, normalize=False)[:, 0], x.mean(axis=1), rtol=1e-5)
    for bad in (["other"], "sign", [3]):
        with pytest.raises(sb.ArgumentError, match="outputs: expected names among"):
            encoder.run({"x": x}, bad)  # type: ignore[arg-type]
    with pytest.raises(sb.UnsupportedError, match="run: expected an ONNX model"):
        sb.Encoder().run({"x": x})


# -- states


def counter(path: Path, state: list[object]) -> Path:
    """state + x is the vector and the next state."""
    nodes = [helper.make_node("Add", ["state", "x"], ["y"]), helper.make_node("Identity", ["y"], ["next_state"])]
    shapes: Shapes = {"x": (F32, ["batch", 2]), "state": (F32, state)}
    return save(path, nodes, shapes, {"y": (F32, ["batch", 2]), "next_state": (F32, state)})


def test_streams_keep_their_own_states(tmp_path: Path) -> None:
    encoder = sb.Encoder(counter(tmp_path / "m.onnx", ["batch", 2]), output="y")
    first, second = encoder.stream({"state": "next_state"}), encoder.stream({"state": "next_state"})
    pieces = f32(5, 1, 2)
    for count, piece in enumerate(pieces, 1):
        got = first.encode({"x": piece}, normalize=False)
        np.testing.assert_allclose(got, pieces[:count].sum(axis=0), atol=1e-5)
    np.testing.assert_allclose(second.encode({"x": pieces[3]}), unit(pieces[3]), atol=1e-6)
    np.testing.assert_allclose(first.state["state"], pieces.sum(axis=0), atol=1e-5)
    first.reset()
    np.testing.assert_allclose(first.encode({"x": pieces[0]}, normalize=False), pieces[0])


def test_a_first_state_may_be_given(tmp_path: Path) -> None:
    encoder = sb.Encoder(counter(tmp_path / "m.onnx", ["batch", "width"]), output="y")
    start, x = f32(1, 2), f32(1, 2)
    with pytest.raises(sb.ArgumentError, match=r"start: expected a first state 'state' of shape \('batch', 'width'\)"):
        encoder.stream({"state": "next_state"}).encode({"x": x})
    stream = encoder.stream({"state": "next_state"}, start={"state": start})
    for _ in range(2):
        np.testing.assert_allclose(stream.encode({"x": x}, normalize=False), start + x, atol=1e-6)
        stream.reset()


def test_a_failed_call_leaves_the_state(tmp_path: Path) -> None:
    stream = sb.Encoder(counter(tmp_path / "m.onnx", ["batch", 2]), output="y").stream({"state": "next_state"})
    stream.encode({"x": np.ones((1, 2), np.float32)})
    before = stream.state["state"].copy()
    for bad in ({"x": np.full((1, 2), np.nan, np.float32)}, {"x": f32(1, 3)}, {}, {"x": f32(1, 2), "state": before}):
        with pytest.raises(sb.Error):
            stream.encode(bad)
        np.testing.assert_array_equal(stream.state["state"], before)


@pytest.mark.parametrize(
    ("state", "words"),
    [
        ({"none": "next_state"}, "expected inputs among"),
        ({"state": "none"}, "expected outputs among"),
        ({}, "expected inputs"),
        ("state", "expected a mapping"),
    ],
)
def test_states_of_other_names_are_refused(tmp_path: Path, state: object, words: str) -> None:
    encoder = sb.Encoder(counter(tmp_path / "m.onnx", ["batch", 2]))
    with pytest.raises(sb.ArgumentError, match=f"state: {words}"):
        encoder.stream(state)  # type: ignore[arg-type]
    with pytest.raises(sb.ArgumentError, match="start: expected names among"):
        encoder.stream({"state": "next_state"}, start={"x": f32(1, 2)})
