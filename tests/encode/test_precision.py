"""Weights in fewer bits, output codes, merged weights, vectors left on the device."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import onnx
import pytest
from layered_models import WIDTH, layered_model, weights, write_layered

import semblance as sb
from semblance.encode import graph
from semblance.encode.precision import block_codes, converted

TEXTS = ["the cat runs.", "a big dog", "tree", "", "the big big dog sleeps"]


@pytest.fixture(scope="module")
def layered(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_layered(tmp_path_factory.mktemp("hub") / "layered")


@pytest.mark.parametrize(("precision", "far"), [("fp16", 2e-3), ("w8", 1e-2), ("dynamic-int8", 6e-2)])
def test_fewer_bits_stay_near(layered: Path, precision: str, far: float) -> None:
    exact, encoder = sb.Encoder(layered), sb.Encoder(layered, precision=precision)
    got = encoder.encode(TEXTS)
    difference = np.abs(got - exact.encode(TEXTS)).max()
    assert 0 < difference < far
    assert encoder.fingerprint != exact.fingerprint
    if precision != "dynamic-int8":
        assert np.array_equal(got, np.concatenate([encoder.encode([text]) for text in TEXTS]))
    assert sb.Encoder(layered, precision=precision, layers=1, dims=8).encode(TEXTS).shape == (5, 8)


def test_stretched_positions_go_with_fewer_bits(layered: Path) -> None:
    long = ["the big dog runs a tree the small cat sleeps . the dog"]
    for precision in ("fp16", "w8"):
        got = sb.Encoder(layered, precision=precision, long="interpolate").encode(long)
        np.testing.assert_allclose(got, sb.Encoder(layered, long="interpolate").encode(long), atol=2e-2)


def test_dynamic_int8_says_what_it_costs(layered: Path, caplog: pytest.LogCaptureFixture) -> None:
    sb.Encoder(layered, precision="dynamic-int8")
    assert "depend on what else is in its batch" in caplog.text


def test_codes_of_a_block_are_within_half_a_step() -> None:
    values = np.random.default_rng(0).normal(size=(96, 7)).astype(np.float32)
    values[:, 3] = 0
    codes, scales = block_codes(values)
    assert codes.shape == (7, 3, 32)
    back = ((codes.astype(np.float32) - 128) * scales[:, :, None]).reshape(7, 96).T
    assert (np.abs(back - values) <= np.repeat(scales.T, 32, axis=0) / 2 * 1.0001).all()


def test_w8_replaces_the_weights_it_codes(layered: Path) -> None:
    model = converted(graph.load(layered / "model.onnx", weights=True), "w8", "x")
    names = {tensor.name for tensor in model.graph.initializer}
    assert not any(name.endswith("dense.weight") for name in names)
    assert "embeddings.word_embeddings.weight" in names
    assert [node.op_type for node in model.graph.node].count("MatMulNBits") == 3


@pytest.mark.parametrize("bad", ["int8", "", None, 16])
def test_unknown_precisions_are_refused(layered: Path, bad: object) -> None:
    with pytest.raises(sb.ArgumentError, match="precision: expected one of fp32, fp16, w8, dynamic-int8"):
        sb.Encoder(layered, precision=bad)  # type: ignore[arg-type]


@pytest.mark.data
def test_minilm_in_fewer_bits() -> None:
    folder = Path(os.environ["SEMBLANCE_DATA"]) / "minilm"
    texts = ["a small dog", "share prices fell sharply on Monday", "the mitochondrion is the powerhouse of the cell"]
    exact = sb.Encoder(folder, device="cpu").encode(texts)
    for precision, least in (("fp16", 0.9999), ("w8", 0.999), ("dynamic-int8", 0.95)):
        got = sb.Encoder(folder, device="cpu", precision=precision).encode(texts)
        assert float(np.einsum("nd,nd->n", exact, got).min()) > least, precision


# -- codes


@pytest.mark.parametrize("encoder", [sb.Encoder(), sb.Encoder(dims=64)], ids=["256", "64"])
def test_codes_go_straight_into_an_index(encoder: sb.Encoder) -> None:
    exact = encoder.encode(TEXTS)
    small, bits = encoder.encode(TEXTS, codes="i8"), encoder.encode(TEXTS, codes="b1")
    assert (small.dtype, bits.dtype) == (np.int8, np.uint8)
    assert np.abs(small / 127 - exact).max() <= 0.5 / 127 + 1e-6
    assert np.array_equal(np.unpackbits(bits, axis=1), exact > 0)
    for metric, rows in (("cosine", small), ("hamming", bits)):
        index = sb.Index(encoder.dim, metric=metric)
        index.add(rows)
        assert index.search(rows, k=1, ef=16).ids[:, 0].tolist() == list(range(len(TEXTS)))
    with pytest.raises(sb.ArgumentError, match="codes: expected 'f32', 'i8' or 'b1'"):
        encoder.encode(TEXTS, codes="i4")  # type: ignore[arg-type]
    with pytest.raises(sb.ArgumentError, match="codes: expected normalize=True"):
        encoder.encode(TEXTS, codes="i8", normalize=False)


# -- merged weights


def other_folder(path: Path, shift: float = 0.25) -> Path:
    return write_layered(path, layered_model({name: value + np.float32(shift) for name, value in weights().items()}))


def test_merged_weights_are_the_weighted_mean(layered: Path, tmp_path: Path) -> None:
    middle = sb.Encoder(other_folder(tmp_path / "middle", 0.1))
    pair = [sb.Encoder(layered), sb.Encoder(other_folder(tmp_path / "far"))]
    merged = sb.merge_encoders(pair, [0.6, 0.4])
    np.testing.assert_allclose(merged.encode(TEXTS), middle.encode(TEXTS), atol=1e-5)
    np.testing.assert_allclose(sb.merge_encoders(pair, [3, 2]).encode(TEXTS), merged.encode(TEXTS), atol=1e-6)
    np.testing.assert_allclose(sb.merge_encoders(pair, [1, 0]).encode(TEXTS), pair[0].encode(TEXTS), atol=1e-6)
    assert merged.name == "merged-layered-far"
    assert len({e.fingerprint for e in (*pair, merged, sb.merge_encoders(pair))}) == 4


def test_settings_of_the_first_hold_for_the_merged(layered: Path, tmp_path: Path) -> None:
    far = sb.Encoder(other_folder(tmp_path / "far"))
    merged = sb.merge_encoders([sb.Encoder(layered, layers=1, dims=4, instruction="the "), far], [1, 0])
    np.testing.assert_allclose(
        merged.encode(TEXTS), sb.Encoder(layered, layers=1, dims=4, instruction="the ").encode(TEXTS), atol=1e-6
    )
    assert merged.layers(["cat"]).shape == (1, 1, 4)


def test_what_cannot_be_merged(layered: Path, tiny: Path) -> None:
    encoder = sb.Encoder(layered)
    for encoders, options, words in (
        ([encoder], {}, "two or more, got 1"),
        ([encoder, sb.Encoder()], {}, r"encoders\[1\]: expected an encoder of an ONNX model"),
        ([encoder, sb.Encoder(tiny)], {}, "another architecture"),
        ([encoder, encoder], {"weights": [1]}, "weights: expected 2 finite numbers"),
        ([encoder, encoder], {"weights": [1, float("nan")]}, "weights: expected 2 finite"),
        ([encoder, encoder], {"weights": [1, -1]}, "sum other than 0"),
    ):
        with pytest.raises(sb.ArgumentError, match=words):
            sb.merge_encoders(encoders, **options)  # type: ignore[arg-type]


# -- saved


@pytest.mark.parametrize(
    "options", [{}, {"layers": 2}, {"precision": "w8"}, {"pooling": "cls+mean", "max_tokens": 5}, {"precision": "fp16"}]
)
def test_a_saved_model_is_the_same_encoder(layered: Path, tmp_path: Path, options: dict[str, object]) -> None:
    encoder = sb.Encoder(layered, **options)  # type: ignore[arg-type]
    encoder.save(tmp_path / "saved")
    again = sb.Encoder(tmp_path / "saved")
    assert np.array_equal(again.encode(TEXTS), encoder.encode(TEXTS))
    assert (again.dim, again.max_tokens, again.tokens(TEXTS)) == (
        encoder.dim,
        encoder.max_tokens,
        encoder.tokens(TEXTS),
    )


def test_merged_weights_are_saved(layered: Path, tmp_path: Path) -> None:
    merged = sb.merge_encoders([sb.Encoder(layered), sb.Encoder(other_folder(tmp_path / "far"))])
    merged.save(tmp_path / "merged")
    assert np.array_equal(sb.Encoder(tmp_path / "merged").encode(TEXTS), merged.encode(TEXTS))


def test_what_a_folder_cannot_say_is_not_saved(layered: Path, tmp_path: Path) -> None:
    for options in ({"long": "group"}, {"output": "last_hidden_state"}, {"pooling": "dupmae"}, {"dims": 3}):
        with pytest.raises(sb.ArgumentError, match="save: expected an encoder without"):
            sb.Encoder(layered, **options).save(tmp_path / "x")  # type: ignore[arg-type]
    for path, words in ((layered, "does not exist yet"), (tmp_path / "none" / "x", "can be written")):
        with pytest.raises(sb.ArgumentError, match=f"path: expected a folder that {words}"):
            sb.Encoder(layered).save(path)
    assert not list(tmp_path.iterdir())


# -- vectors that stay on the device (here the CPU; the same calls as for CUDA)


@pytest.mark.parametrize("options", [{}, {"dims": 5}, {"pooling": "cls"}, {"layers": 2}, {"instruction": "the "}])
def test_device_batches_are_the_vectors(layered: Path, options: dict[str, object]) -> None:
    encoder = sb.Encoder(layered, **options)  # type: ignore[arg-type]
    got = np.full((len(TEXTS), encoder.dim), np.nan, np.float32)
    for positions, vectors in encoder.device_batches(TEXTS, batch_tokens=8):
        got[positions] = np.from_dlpack(vectors)
    np.testing.assert_allclose(got, encoder.encode(TEXTS), atol=1e-6)


def test_device_batches_refuse_what_the_graph_cannot_pool(layered: Path) -> None:
    for options in ({"pooling": "max"}, {"instruction": "the ", "pool_instruction": False}):
        with pytest.raises(sb.UnsupportedError, match="device: expected"):
            list(sb.Encoder(layered, **options).device_batches(TEXTS))  # type: ignore[arg-type]
    with pytest.raises(sb.UnsupportedError, match="static encoder"):
        list(sb.Encoder().device_batches(TEXTS))


def test_the_layered_model_is_well_formed() -> None:
    onnx.checker.check_model(layered_model(), full_check=True)
    assert WIDTH % 32 == 0  # a block of codes
