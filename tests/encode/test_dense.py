"""What a sentence-transformers folder does after the pooling: Dense, unit length; and modules that are not run."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from layered_models import layered_model, write_layered
from safetensors.numpy import save_file
from tiny_models import WIDTH, unit, write_folder

import semblance as sb

TEXTS = ["the cat runs.", "a big dog", "tree", "the small small tree sleeps", ""]
SIZES = (WIDTH, 4)
ACTIVATIONS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "torch.nn.modules.activation.Tanh": np.tanh,
    "torch.nn.modules.linear.Identity": lambda x: x,
    "torch.nn.modules.activation.ReLU": lambda x: np.maximum(x, 0),
    "torch.nn.modules.activation.Sigmoid": lambda x: 1 / (1 + np.exp(-x)),
    "torch.nn.modules.activation.GELU": lambda x: x * (1 + np.vectorize(math.erf)(x / math.sqrt(2))) / 2,
}


def layer(inputs: int, outputs: int, seed: int = 5) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(seed)
    return random.normal(size=(outputs, inputs)).astype(np.float32), random.normal(size=outputs).astype(np.float32)


def add_modules(folder: Path, *kinds: str) -> None:
    """Replace what comes after the pooling by modules of these kinds, each in a folder of its own."""
    entries = json.loads((folder / "modules.json").read_text())[:2]
    entries += [{"path": f"{place}_{kind}", "type": f"sentence_transformers.models.{kind}"}
                for place, kind in enumerate(kinds, 2)]  # fmt: skip
    (folder / "modules.json").write_text(json.dumps(entries))


def write_dense(
    folder: Path, weight: np.ndarray, bias: np.ndarray | None, activation: str = "torch.nn.modules.activation.Tanh"
) -> None:
    folder.mkdir(exist_ok=True)
    config = {"in_features": weight.shape[1], "out_features": weight.shape[0], "bias": bias is not None}
    (folder / "config.json").write_text(json.dumps({**config, "activation_function": activation}))
    tensors = {"linear.weight": weight} if bias is None else {"linear.weight": weight, "linear.bias": bias}
    save_file(tensors, folder / "model.safetensors")


@pytest.fixture
def dense(tmp_path: Path) -> Path:
    """A folder with Transformer, Pooling, Dense (6 → 4, tanh), Normalize."""
    folder = write_folder(tmp_path / "dense")
    add_modules(folder, "Dense", "Normalize")
    write_dense(folder / "2_Dense", *layer(*SIZES))
    return folder


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("with_bias", [True, False])
def test_a_dense_module_follows_the_pooling(dense: Path, tiny: Path, activation: str, with_bias: bool) -> None:
    weight, bias = layer(*SIZES)
    write_dense(dense / "2_Dense", weight, bias if with_bias else None, activation)
    pooled = sb.Encoder(tiny).encode(TEXTS, normalize=False)
    expected = ACTIVATIONS[activation](pooled @ weight.T + (bias if with_bias else 0))
    encoder = sb.Encoder(dense)
    assert encoder.dim == 4
    np.testing.assert_allclose(encoder.encode(TEXTS, normalize=False), expected, atol=1e-5)
    np.testing.assert_allclose(encoder.encode(TEXTS), unit(expected), atol=1e-5)


def test_two_of_them_and_unit_length_between(dense: Path, tiny: Path) -> None:
    add_modules(dense, "Normalize", "Dense", "Dropout", "Dense")
    (first, first_bias), (second, second_bias) = layer(WIDTH, 5), layer(5, 3, seed=6)
    write_dense(dense / "3_Dense", first, first_bias)
    write_dense(dense / "5_Dense", second, second_bias)
    pooled = sb.Encoder(tiny).encode(TEXTS)
    expected = np.tanh(np.tanh(pooled @ first.T + first_bias) @ second.T + second_bias)
    np.testing.assert_allclose(sb.Encoder(dense).encode(TEXTS, normalize=False), expected, atol=1e-5)


def test_a_vector_is_the_same_in_every_batch(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "wide")
    add_modules(folder, "Dense")
    write_dense(folder / "2_Dense", *layer(WIDTH, 200))
    encoder, texts = sb.Encoder(folder), [f"the {'big ' * (i % 3)}cat" for i in range(40)]
    alone = np.concatenate([encoder.encode([text]) for text in texts])
    assert np.array_equal(encoder.encode(texts), alone)


def test_dims_are_cut_after_it(dense: Path) -> None:
    whole = sb.Encoder(dense).encode(TEXTS, normalize=False)
    np.testing.assert_allclose(sb.Encoder(dense, dims=3).encode(TEXTS), unit(whole[:, :3]), atol=1e-6)
    with pytest.raises(sb.ArgumentError, match="dims: expected at most the model's 4, got 5"):
        sb.Encoder(dense, dims=5)


@pytest.mark.parametrize("dtype", ["float16", "float64", "bfloat16"])
def test_weights_of_other_floats(dense: Path, dtype: str) -> None:
    weight, bias = layer(*SIZES)
    rounded = (weight.view(np.uint32) & 0xFFFF0000).view(np.float32)  # what bfloat16 can hold
    if dtype == "bfloat16":
        write_bfloat(dense / "2_Dense/model.safetensors", weight, bias)
        rounded_bias = (bias.view(np.uint32) & 0xFFFF0000).view(np.float32)
    else:
        rounded, rounded_bias = weight.astype(dtype), bias.astype(dtype)
        write_dense(dense / "2_Dense", rounded, rounded_bias)
    got = sb.Encoder(dense).encode(TEXTS)
    write_dense(dense / "2_Dense", rounded.astype(np.float32), rounded_bias.astype(np.float32))
    assert np.array_equal(got, sb.Encoder(dense).encode(TEXTS))


def write_bfloat(path: Path, weight: np.ndarray, bias: np.ndarray) -> None:
    parts = {"linear.weight": weight, "linear.bias": bias}
    data = {name: (value.view(np.uint32) >> 16).astype("<u2").tobytes() for name, value in parts.items()}
    header, start = {}, 0
    for name, value in parts.items():
        header[name] = {"dtype": "BF16", "shape": value.shape, "data_offsets": [start, start + len(data[name])]}
        start += len(data[name])
    text = json.dumps(header).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + b"".join(data.values()))


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_it_stays_on_the_device(tmp_path: Path, activation: str) -> None:
    folder = write_layered(tmp_path / "layered", layered_model())
    add_modules(folder, "Normalize", "Dense")
    write_dense(folder / "3_Dense", *layer(32, 7), activation)
    encoder = sb.Encoder(folder, dims=5)
    got = np.full((len(TEXTS), 5), np.nan, np.float32)
    for positions, vectors in encoder.device_batches(TEXTS):
        got[positions] = np.from_dlpack(vectors)
    np.testing.assert_allclose(got, encoder.encode(TEXTS), atol=1e-5)


def test_it_is_saved(tmp_path: Path) -> None:
    folder = write_layered(tmp_path / "layered", layered_model())
    add_modules(folder, "Normalize", "Dense", "Normalize")
    write_dense(folder / "3_Dense", *layer(32, 7))
    encoder = sb.Encoder(folder, layers=2)
    encoder.save(tmp_path / "saved")
    assert np.array_equal(sb.Encoder(tmp_path / "saved").encode(TEXTS), encoder.encode(TEXTS))


def test_encoders_with_different_ones_are_not_merged(tmp_path: Path) -> None:
    folders = [write_layered(tmp_path / name, layered_model()) for name in ("a", "b")]
    for seed, folder in enumerate(folders):
        add_modules(folder, "Dense")
        write_dense(folder / "2_Dense", *layer(32, 7, seed))
    with pytest.raises(sb.ArgumentError, match="expected the same Dense modules"):
        sb.merge_encoders([sb.Encoder(folder) for folder in folders])
    assert sb.merge_encoders([sb.Encoder(folders[0])] * 2).dim == 7


def test_fingerprints_tell_weights_apart(dense: Path) -> None:
    before = sb.Encoder(dense).fingerprint
    write_dense(dense / "2_Dense", *layer(*SIZES, seed=9))
    assert sb.Encoder(dense).fingerprint != before


# -- what cannot be run says so


@pytest.mark.parametrize("kind", ["LSTM", "CNN", "WeightedLayerPooling", "LayerNorm", "Asym", "Router", ""])
def test_a_module_that_is_not_run_is_named(dense: Path, kind: str) -> None:
    add_modules(dense, "Dense", kind)
    with pytest.raises(sb.UnsupportedError, match=rf"modules.json: expected Transformer, .*got the module '{kind}'"):
        sb.Encoder(dense)


def test_a_dense_module_on_tokens(dense: Path) -> None:
    entries = json.loads((dense / "modules.json").read_text())
    (dense / "modules.json").write_text(json.dumps([entries[0], entries[2]]))
    with pytest.raises(sb.UnsupportedError, match="expected Pooling before Dense"):
        sb.Encoder(dense)


@pytest.mark.parametrize(
    ("change", "error", "words"),
    [
        ({"activation_function": "my_package.Sine"}, sb.UnsupportedError, "an activation among .*got 'Sine'"),
        ({"module_input_name": "token_embeddings"}, sb.UnsupportedError, "got one on 'token_embeddings'"),
        ({"out_features": 5}, sb.FormatError, r"'linear.weight' of shape \(5, 6\), got shape \(4, 6\)"),
        ({"in_features": None}, sb.FormatError, r"of shape \(4, None\)"),
    ],
)
def test_a_configuration_that_does_not_fit(
    dense: Path, change: dict[str, object], error: type[Exception], words: str
) -> None:
    path = dense / "2_Dense/config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **change}))
    with pytest.raises(error, match=words):
        sb.Encoder(dense)


def test_weights_that_are_missing_damaged_or_pickled(dense: Path) -> None:
    path = dense / "2_Dense/model.safetensors"
    whole = path.read_bytes()
    for damaged in (b"", whole[:7], whole[:-3], b"\x80\x04" + whole):
        path.write_bytes(damaged)
        with pytest.raises(sb.FormatError, match=r"2_Dense/model.safetensors: expected a safetensors file"):
            sb.Encoder(dense)
    path.unlink()
    with pytest.raises(sb.FormatError, match=r"2_Dense: expected the module's weights in model.safetensors"):
        sb.Encoder(dense)
    (dense / "2_Dense/pytorch_model.bin").write_bytes(b"anything")
    with pytest.raises(sb.UnsupportedError, match="a pickle, which is never opened"):
        sb.Encoder(dense)


def test_weights_that_are_not_numbers(dense: Path) -> None:
    weight, bias = layer(*SIZES)
    weight[1, 1] = np.nan
    write_dense(dense / "2_Dense", weight, bias)
    with pytest.raises(sb.FormatError, match=r"expected finite 'linear.weight'"):
        sb.Encoder(dense)


def test_a_pooling_of_another_width_does_not_fit(dense: Path) -> None:
    with pytest.raises(sb.FormatError, match="2_Dense: expected vectors of 6 dimensions, got 12"):
        sb.Encoder(dense, pooling="cls+mean").encode(TEXTS)


def test_weights_outside_the_folder_are_refused(dense: Path, tmp_path: Path) -> None:
    path = dense / "2_Dense/model.safetensors"
    path.rename(tmp_path / "elsewhere")
    path.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(sb.FormatError, match="expected a file inside the model's folder"):
        sb.Encoder(dense)


def test_without_the_safetensors_package_the_line_to_run_is_named(dense: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "safetensors", None)
    with pytest.raises(sb.UnsupportedError, match=r"pip install 'semblance\[onnx\]'"):
        sb.Encoder(dense)
