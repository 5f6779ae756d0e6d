"""ONNX models: any signature, poolings, outputs, devices and runtimes that are not there."""

from __future__ import annotations

import logging
import multiprocessing
import os
import sys
from collections.abc import Callable
from importlib import metadata
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper
from tiny_models import VOCABULARY, token_rows, unit, write_folder

import semblance as sb
from semblance.encode import onnx as runner

Shape = list[object]


def save(
    path: Path, nodes: list[onnx.NodeProto], inputs: dict[str, tuple[int, Shape]], outputs: dict[str, Shape]
) -> Path:
    """A model file from its parts; inputs are name → (element type, shape), outputs are f32."""
    graph = helper.make_graph(
        nodes, "g", [helper.make_tensor_value_info(name, kind, shape) for name, (kind, shape) in inputs.items()],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in outputs.items()],
    )  # fmt: skip
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
    return path


@pytest.fixture
def image_model(tmp_path: Path) -> Path:
    """Mean over pixels → (n, 3), and the same after a sign change under another name."""
    nodes = [
        helper.make_node("ReduceMean", ["pixels"], ["features"], axes=[2, 3], keepdims=0),
        helper.make_node("Neg", ["features"], ["negative"]),
    ]
    inputs = {"pixels": (TensorProto.FLOAT, ["n", 3, "height", "width"])}
    return save(tmp_path / "image.onnx", nodes, inputs, {"features": ["n", 3], "negative": ["n", 3]})


def test_images_in_vectors_out(image_model: Path) -> None:
    pixels = np.random.default_rng(0).normal(size=(150, 3, 4, 5)).astype(np.float32)
    encoder = sb.Encoder(image_model, device="cpu")
    assert encoder.dim == 3
    expected = unit(pixels.mean(axis=(2, 3)))
    np.testing.assert_allclose(encoder.encode({"pixels": pixels}), expected, atol=1e-6)
    np.testing.assert_allclose(encoder.encode({"pixels": pixels[::-1]}, batch_tokens=7), expected[::-1], atol=1e-6)
    assert encoder.encode({"pixels": pixels[:0]}).shape == (0, 3)
    np.testing.assert_allclose(
        sb.Encoder(image_model, output="negative").encode({"pixels": pixels}), -expected, atol=1e-6
    )


@pytest.mark.parametrize(
    ("inputs", "words"),
    [
        ({}, r"missing \['pixels'\]"),
        ({"pixels": np.zeros((2, 3, 4, 4), np.float32), "more": [1]}, "exactly"),
        ({"pixels": np.zeros((2, 4, 4, 4), np.float32)}, r"expected shape \('n', 3"),
        ({"pixels": np.zeros((3, 4, 4), np.float32)}, "expected shape"),
        ({"pixels": np.zeros((), np.float32)}, "expected shape"),
        ({"pixels": [["a"]]}, "expected float32, got <U1"),
        ({"pixels": np.zeros((2, 3, 4, 4), complex)}, "expected float32, got complex128"),
    ],
)
def test_inputs_that_do_not_fit_are_named(image_model: Path, inputs: dict[str, object], words: str) -> None:
    with pytest.raises(sb.ArgumentError, match=words):
        sb.Encoder(image_model).encode(inputs)


def test_a_model_without_text_inputs_refuses_texts(image_model: Path) -> None:
    with pytest.raises(sb.UnsupportedError, match="takes pixels"):
        sb.Encoder(image_model).encode(["a text"])


def test_a_static_encoder_refuses_named_arrays() -> None:
    with pytest.raises(sb.UnsupportedError, match="named arrays"):
        sb.Encoder().encode({"input_ids": np.zeros((1, 2), np.int64)})


def test_several_inputs_of_several_types(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("Cast", ["count"], ["count_f"], to=TensorProto.FLOAT),
        helper.make_node("Mul", ["table", "count_f"], ["scaled"]),
        helper.make_node("Add", ["scaled", "shift"], ["out"]),
    ]
    inputs = {
        "table": (TensorProto.FLOAT, ["n", 4]),
        "count": (TensorProto.INT64, ["n", 1]),
        "shift": (TensorProto.FLOAT, ["n", 4]),
    }
    encoder = sb.Encoder(save(tmp_path / "columns.onnx", nodes, inputs, {"out": ["n", 4]}))
    table, shift = np.random.default_rng(1).normal(size=(2, 70, 4)).astype(np.float32)
    count = np.arange(70)[:, None]
    given = {"shift": shift, "table": table, "count": count.astype(np.int32)}
    np.testing.assert_allclose(encoder.encode(given, normalize=False), table * count + shift, rtol=1e-5)
    with pytest.raises(sb.ArgumentError, match="one number of items"):
        encoder.encode({**given, "count": count[:5]})


def test_numbers_that_are_not_finite_are_an_error(image_model: Path) -> None:
    pixels = np.ones((5, 3, 2, 2), np.float32)
    pixels[3, 1] = np.nan
    with pytest.raises(sb.Error, match=r"got NaN or inf for item 3"):
        sb.Encoder(image_model).encode({"pixels": pixels})


@pytest.mark.parametrize(
    ("method", "expected"),
    [
        ("mean", lambda rows: rows.mean(axis=0)),
        ("cls", lambda rows: rows[0]),
        ("last", lambda rows: rows[-1]),
        ("max", lambda rows: rows.max(axis=0)),
        ("mean_sqrt", lambda rows: rows.sum(axis=0) / np.sqrt(len(rows))),
        ("weighted_mean", lambda rows: np.average(rows, axis=0, weights=np.arange(1, len(rows) + 1))),
        ("cls+mean", lambda rows: np.concatenate([rows[0], rows.mean(axis=0)])),
        ("max+last+cls", lambda rows: np.concatenate([rows.max(axis=0), rows[-1], rows[0]])),
        ("dupmae", lambda rows: unit(np.stack([rows[0], rows[1:-1].max(axis=0)])).ravel()),
    ],
)
def test_poolings(tiny: Path, method: str, expected: Callable[[np.ndarray], np.ndarray]) -> None:
    encoder = sb.Encoder(tiny, pooling=method)
    assert encoder.dim == 6 * (method.count("+") + 1 + (method == "dupmae"))
    vectors = encoder.encode(["the cat", "a big dog runs.", "tree"], normalize=False)
    for vector, tokens in zip(vectors, encoder.tokens(["the cat", "a big dog runs.", "tree"]), strict=True):
        rows = token_rows()[[VOCABULARY[token] for token in tokens]]
        np.testing.assert_allclose(vector, expected(rows), atol=1e-5)


def test_an_instruction_can_be_left_out_of_the_pooling(tiny: Path, tmp_path: Path) -> None:
    rows, told = token_rows(), {"instruction": "the big "}
    expected = unit(rows[[VOCABULARY["dog"], VOCABULARY["[SEP]"]]].mean(axis=0, keepdims=True))
    got = sb.Encoder(tiny, **told, pool_instruction=False).encode(["dog"])  # type: ignore[arg-type]
    np.testing.assert_allclose(got, expected, atol=1e-6)
    assert not np.allclose(sb.Encoder(tiny, **told).encode(["dog"]), expected, atol=1e-2)  # type: ignore[arg-type]
    folder = write_folder(tmp_path / "told")  # a folder may say so itself
    (folder / "1_Pooling/config.json").write_text('{"pooling_mode_mean_tokens": true, "include_prompt": false}')
    np.testing.assert_allclose(sb.Encoder(folder, **told).encode(["dog"]), expected, atol=1e-6)  # type: ignore[arg-type]
    plain = sb.Encoder(folder, **told, pool_instruction=True).encode(["dog"])  # type: ignore[arg-type]
    assert np.array_equal(plain, sb.Encoder(tiny, **told).encode(["dog"]))  # type: ignore[arg-type]
    assert np.array_equal(sb.Encoder(folder).encode(["dog"]), sb.Encoder(tiny).encode(["dog"]))


def test_an_output_that_is_pooled_already_is_taken_as_it_is(image_model: Path) -> None:
    pixels = np.random.default_rng(0).normal(size=(4, 3, 2, 2)).astype(np.float32)
    for method in ("cls", "cls+mean", "dupmae"):
        encoder = sb.Encoder(image_model, pooling=method)
        assert encoder.dim == 3
        np.testing.assert_allclose(encoder.encode({"pixels": pixels}), unit(pixels.mean(axis=(2, 3))), atol=1e-6)


def test_an_attention_mask_among_named_arrays_is_obeyed(tiny: Path) -> None:
    ids = np.array([[2, 5, 3, 0, 0], [2, 6, 7, 8, 3]])
    mask = (ids > 0).astype(np.int64)
    given = {"input_ids": ids, "attention_mask": mask, "token_type_ids": 0 * ids}
    rows = token_rows()
    expected = unit(np.stack([rows[ids[0, :3]].mean(axis=0), rows[ids[1]].mean(axis=0)]))
    np.testing.assert_allclose(sb.Encoder(tiny).encode(given), expected, atol=1e-6)


@pytest.mark.parametrize("bad", ["sum", "", "mean+", "cls+sum", None, 3])
def test_unknown_poolings_are_refused(tiny: Path, bad: object) -> None:
    with pytest.raises(sb.ArgumentError, match="pooling: expected"):
        sb.Encoder(tiny, pooling=bad)  # type: ignore[arg-type]


def test_an_unknown_output_names_the_known(image_model: Path) -> None:
    with pytest.raises(sb.ArgumentError, match=r"\['features', 'negative'\], got 'other'"):
        sb.Encoder(image_model, output="other")


@pytest.mark.parametrize("bad", ["gpu", "", "cuda:x", 0, None])
def test_a_device_of_another_name_is_refused(tiny: Path, bad: object) -> None:
    with pytest.raises(sb.ArgumentError, match="device: expected"):
        sb.Encoder(tiny, device=bad)  # type: ignore[arg-type]


def _without_cuda() -> bool:
    import onnxruntime

    return "CUDAExecutionProvider" not in onnxruntime.get_available_providers()


@pytest.mark.skipif(not _without_cuda(), reason="this ONNX Runtime has CUDA")
def test_cuda_that_is_not_there_is_an_error_with_the_line_to_run(tiny: Path) -> None:
    with pytest.raises(sb.UnsupportedError, match=r"without CUDA \(pip uninstall -y onnxruntime; pip install '"):
        sb.Encoder(tiny, device="cuda")


class _SilentRuntime:
    """An ONNX Runtime built for CUDA whose sessions fall back to the CPU without a word, as the real one does."""

    def __init__(self, real: object) -> None:
        self._real = real

    def __getattr__(self, name: str) -> object:
        return getattr(self._real, name)

    def get_available_providers(self) -> list[str]:
        return ["CUDAExecutionProvider", "CPUExecutionProvider"]

    def preload_dlls(self) -> None:
        pass

    def InferenceSession(self, *args: object, providers: list[object]) -> object:
        return self._real.InferenceSession(*args, providers=providers[1:])  # type: ignore[attr-defined]


def test_a_silent_fallback_is_caught(tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import onnxruntime

    monkeypatch.setattr(runner, "runtime", lambda: _SilentRuntime(onnxruntime))
    with pytest.raises(sb.UnsupportedError, match="got a session on the CPU"):
        sb.Encoder(tiny, device="cuda:0")
    assert sb.Encoder(tiny, device="auto").device == "cpu"


def test_auto_says_once_what_it_took(
    tiny: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(runner, "_said", set())
    with caplog.at_level(logging.INFO, "semblance"):
        assert {sb.Encoder(tiny, device="auto").device for _ in range(3)} <= {"cpu", "cuda"}
    assert [record.getMessage().split(" (")[0] for record in caplog.records] in (
        ["encoder device: cpu"], ["encoder device: cuda"],
    )  # fmt: skip


def test_both_runtimes_installed_is_an_error(tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metadata, "version", lambda name: "1.31.1")
    with pytest.raises(sb.UnsupportedError, match="got both"):
        sb.Encoder(tiny)


def test_no_runtime_installed_is_an_error(tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(sb.UnsupportedError, match=r"pip install 'semblance\[onnx\]'"):
        sb.Encoder(tiny)


def test_a_hollow_runtime_is_an_error(tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", type(sys)("onnxruntime"))
    with pytest.raises(sb.UnsupportedError, match="force-reinstall"):
        sb.Encoder(tiny)


def _encode_in_child(encoder: sb.Encoder, sender: object) -> None:
    sender.send(encoder.encode(["the cat runs."]))  # type: ignore[attr-defined]
    os._exit(0)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_forked_child_encodes(tiny: Path) -> None:
    encoder = sb.Encoder(tiny, device="cpu", threads=2)
    expected = encoder.encode(["the cat runs."])
    context = multiprocessing.get_context("fork")
    receiver, sender = context.Pipe(False)
    child = context.Process(target=_encode_in_child, args=(encoder, sender))
    child.start()
    assert receiver.poll(30), "the child hangs"
    assert np.array_equal(receiver.recv(), expected)
    child.join(10)
