"""Early exit: a graph cut at a layer, all layers at once, dimensions; and what cannot be cut."""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
from layered_models import LAYERS, WIDTH, hidden_states, layered_model, write_layered
from onnx import helper
from tiny_models import VOCABULARY, unit

import semblance as sb
from semblance.encode import graph

TEXTS = ["the cat runs.", "a big dog", "tree"]


@pytest.fixture(scope="module")
def layered(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_layered(tmp_path_factory.mktemp("hub") / "layered")


WORDS = [["the", "cat", "runs", "."], ["a", "big", "dog"], ["tree"]]


def expected(layer: int) -> np.ndarray:
    """Vectors of TEXTS after a layer, by NumPy."""
    ids = [[VOCABULARY[token] for token in ("[CLS]", *words, "[SEP]")] for words in WORDS]
    return unit(np.stack([hidden_states(row)[layer].mean(axis=0) for row in ids]))


@pytest.mark.parametrize("layers", range(1, LAYERS + 1))
def test_a_cut_model_gives_the_state_after_that_layer(layered: Path, layers: int) -> None:
    encoder = sb.Encoder(layered, layers=layers)
    assert encoder.dim == WIDTH
    np.testing.assert_allclose(encoder.encode(TEXTS), expected(layers - 1), atol=1e-6)
    assert np.array_equal(asyncio.run(encoder.aencode(TEXTS)), encoder.encode(TEXTS))


def test_all_layers_at_once_are_the_cut_models(layered: Path) -> None:
    every = sb.Encoder(layered, dims=5).layers(TEXTS)
    assert every.shape == (LAYERS, 3, 5)
    for layers in range(1, LAYERS + 1):
        alone = sb.Encoder(layered, layers=layers, dims=5)
        np.testing.assert_allclose(every[layers - 1], alone.encode(TEXTS), atol=1e-6)
        np.testing.assert_allclose(alone.layers(TEXTS), every[:layers], atol=1e-6)
    assert sb.Encoder(layered).layers([]).shape == (LAYERS, 0, WIDTH)


def test_skipped_layers_are_gone_from_the_graph(layered: Path) -> None:
    model = graph.load(layered / "model.onnx")
    cut = graph.with_outputs(model, [graph.layer_outputs(model, "x")[0]])
    assert len(cut.graph.node) == len(model.graph.node) - 4 * (LAYERS - 1)
    assert not [tensor.name for tensor in cut.graph.initializer if "layer.1" in tensor.name or "layer.2" in tensor.name]


def test_layers_are_found_by_the_names_of_nodes_too() -> None:
    model = layered_model()
    for tensor in model.graph.initializer:
        tensor.name = tensor.name.replace("encoder.layer.", "onnx::MatMul_")
    for node in model.graph.node:
        for place, name in enumerate(node.input):
            if name.startswith("encoder.layer."):
                node.input[place] = name.replace("encoder.layer.", "onnx::MatMul_")
                node.name = "/" + name.replace(".dense.", "/dense/").replace("layer.", "layer.")
    assert graph.layer_outputs(model, "x") == ["state_1", "state_2"]


@pytest.mark.parametrize("bad", [0, -1, 1.5, True, "2"])
def test_layers_is_a_positive_integer(layered: Path, bad: object) -> None:
    with pytest.raises(sb.ArgumentError, match="layers: expected"):
        sb.Encoder(layered, layers=bad)  # type: ignore[arg-type]


def test_more_layers_than_there_are(layered: Path) -> None:
    with pytest.raises(sb.ArgumentError, match=r"layers: expected at most the model's 3, got 4"):
        sb.Encoder(layered, layers=4)


def test_a_graph_without_layers_says_so(tiny: Path) -> None:
    with pytest.raises(sb.UnsupportedError, match="expected numbered layers"):
        sb.Encoder(tiny, layers=1)
    with pytest.raises(sb.UnsupportedError, match="expected numbered layers"):
        sb.Encoder(tiny).layers(["cat"])


def test_two_tensors_between_layers_are_refused(tmp_path: Path) -> None:
    model = layered_model()
    model.graph.node[-1].input[0] = "outer_1"  # the last residual now skips a layer
    model.graph.node.insert(len(model.graph.node) - 1, helper.make_node("Neg", ["state_2"], ["unused"]))
    with pytest.raises(sb.UnsupportedError, match="expected one tensor after layer 1"):
        sb.Encoder(write_layered(tmp_path / "m", model), layers=1)


def test_a_static_encoder_has_no_layers() -> None:
    with pytest.raises(sb.UnsupportedError, match="layers: expected an ONNX model"):
        sb.Encoder().layers(["a"])
    for option in ({"layers": 1}, {"long": "windows"}, {"precision": "w8"}):
        with pytest.raises(sb.ArgumentError, match="static encoder"):
            sb.Encoder(**option)  # type: ignore[arg-type]


def test_without_the_onnx_package_the_line_to_run_is_named(layered: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(sb.UnsupportedError, match=r"pip install 'semblance\[edit\]'"):
        sb.Encoder(layered, layers=1)
    assert sb.Encoder(layered).encode(TEXTS).shape == (3, WIDTH)


def test_fingerprints_tell_layers_apart(layered: Path) -> None:
    made = [sb.Encoder(layered), *(sb.Encoder(layered, layers=layers) for layers in (1, 2))]
    assert len({encoder.fingerprint for encoder in made}) == 3


def test_external_weights_stay_outside_and_are_found(layered: Path, tmp_path: Path) -> None:
    folder = write_layered(tmp_path / "external")
    onnx.save(layered_model(), folder / "model.onnx", save_as_external_data=True, location="w.bin", size_threshold=64)
    assert (folder / "w.bin").is_file()
    for options in ({"layers": 2}, {"precision": "w8"}, {"long": "interpolate"}):
        inside, outside = (sb.Encoder(path, **options) for path in (layered, folder))  # type: ignore[arg-type]
        assert np.array_equal(inside.encode(TEXTS), outside.encode(TEXTS))


@pytest.mark.data
def test_minilm_is_cut_between_its_layers() -> None:
    folder = Path(os.environ["SEMBLANCE_DATA"]) / "minilm"
    texts = ["a small dog", "share prices fell sharply on Monday", ""]
    whole = sb.Encoder(folder, device="cpu")
    every = whole.layers(texts)
    assert every.shape == (6, 3, 384)
    np.testing.assert_allclose(every[5], whole.encode(texts), atol=1e-5)
    np.testing.assert_allclose(every[2], sb.Encoder(folder, device="cpu", layers=3).encode(texts), atol=1e-5)
    nearness = [float(np.einsum("nd,nd->n", every[layer], every[5]).mean()) for layer in range(6)]
    assert max(nearness[:3]) < min(nearness[3:5]) < 1
