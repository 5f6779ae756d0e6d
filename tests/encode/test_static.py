"""The embedded encoder, its file, and distillation."""

from __future__ import annotations

import os
import subprocess
import sys
import zlib
from pathlib import Path

import numpy as np
import pytest
from tiny_models import VOCABULARY, WORDS, unit

import semblance as sb
from semblance import storage
from semblance.encode import distill_file, fitting
from semblance.encode.static import DEFAULT_FILE


@pytest.fixture(scope="module")
def texts() -> list[str]:
    """400 sentences of the tiny model's words."""
    rng = np.random.default_rng(3)
    words = [word for word in WORDS if not word.startswith("##")]
    return [" ".join(rng.choice(words, size=rng.integers(1, 6))) for _ in range(400)]


@pytest.fixture(scope="module")
def distilled(tiny: Path, texts: list[str]) -> sb.Encoder:
    return sb.distill(sb.Encoder(tiny, device="cpu"), 4, texts=texts)


def test_the_package_data_is_small() -> None:
    assert DEFAULT_FILE.stat().st_size <= 8_000_000


def test_meaning_is_near_meaning() -> None:
    encoder = sb.Encoder()
    query = encoder.encode(["a small dog"])
    near, far = encoder.encode(["a little puppy", "laws about taxes"])
    assert (query @ near)[0] > 0.5 > (query @ far)[0] + 0.2


def test_a_saved_encoder_is_the_same_encoder(distilled: sb.Encoder, texts: list[str], tmp_path: Path) -> None:
    distilled.save(tmp_path / "mine.safetensors")
    loaded = sb.Encoder(tmp_path / "mine.safetensors")
    assert np.array_equal(loaded.encode(texts), distilled.encode(texts))
    assert (loaded.fingerprint, loaded.name, loaded.dim) == (distilled.fingerprint, distilled.name, 4)
    assert repr(loaded) == "Encoder('static-tiny-4', dim=4, device='cpu', max_tokens=512)"


def test_what_cannot_be_saved_says_why(tmp_path: Path) -> None:
    with pytest.raises(sb.ArgumentError, match="save: expected an encoder without"):
        sb.Encoder(dims=8).save(tmp_path / "x")
    with pytest.raises(sb.ArgumentError, match="path"):
        sb.Encoder().save(tmp_path / "nowhere" / "x")
    assert list(tmp_path.iterdir()) == []


def test_damaged_and_foreign_files_are_format_errors(distilled: sb.Encoder, tmp_path: Path) -> None:
    path = tmp_path / "mine"
    distilled.save(path)
    whole = path.read_bytes()
    tensors, metadata = storage.read(path)
    for size in (0, 1, 8, 100, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:size])
        with pytest.raises(sb.FormatError):
            sb.Encoder(path)
    damaged: list[tuple[dict[str, np.ndarray], dict[str, str]]] = [
        (tensors, {**metadata, "kind": "index"}),
        (tensors, {key: value for key, value in metadata.items() if key != "dim"}),
        (tensors, {**metadata, "dim": "5"}),
        (tensors, {**metadata, "dim": "x"}),
        (tensors, {**metadata, "empty_id": "99"}),
        (tensors, {**metadata, "max_tokens": "0"}),
        ({**tensors, "tokenizer": tensors["tokenizer"][:9]}, metadata),
        ({**tensors, "tokenizer": np.frombuffer(zlib.compress(b"{}"), np.uint8)}, metadata),
        ({**tensors, "table.rows": tensors["table.rows"][:3]}, metadata),
        ({name: array for name, array in tensors.items() if name != "table.rows"}, metadata),
        ({name: array for name, array in tensors.items() if name != "tokenizer"}, metadata),
    ]
    for arrays, parameters in damaged:
        storage.write(path, arrays, parameters)
        with pytest.raises(sb.FormatError):
            sb.Encoder(path)


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"device": "cuda"}, sb.UnsupportedError),
        ({"pooling": "cls"}, sb.ArgumentError),
        ({"output": "x"}, sb.ArgumentError),
        ({"dims": 257}, sb.ArgumentError),
        ({"threads": -1}, sb.ArgumentError),
        ({"max_tokens": 0}, sb.ArgumentError),
        ({"instruction": 3}, sb.ArgumentError),
    ],
)
def test_options_that_do_not_go_with_a_static_encoder(options: dict[str, object], error: type[Exception]) -> None:
    with pytest.raises(error, match="expected"):
        sb.Encoder(**options)  # type: ignore[arg-type]


def test_max_tokens_shortens_what_counts() -> None:
    assert np.array_equal(sb.Encoder(max_tokens=2).encode(["big dog runs"]), sb.Encoder().encode(["big dog"]))


# -- distillation


def test_a_mean_of_rows_is_found_again(distilled: sb.Encoder, tiny: Path, texts: list[str]) -> None:
    """The tiny teacher is itself a mean of rows (and two constant ones), so distances must survive the reduction."""
    teacher = sb.Encoder(tiny).encode(texts)
    axes = fitting.principal_axes(teacher, 4)
    found = np.einsum("nd,nd->n", distilled.encode(texts), unit(teacher @ axes))
    assert found.mean() > 0.93
    assert float(distilled._model.source["held_out_cosine"]) > 0.93  # type: ignore[attr-defined]


def test_distillation_is_deterministic(distilled: sb.Encoder, tiny: Path, texts: list[str]) -> None:
    teacher = sb.Encoder(tiny)
    assert sb.distill(teacher, 4, texts=texts).fingerprint == distilled.fingerprint
    known = sb.distill(teacher, 4, texts=texts, vectors=teacher.encode(texts))
    np.testing.assert_allclose(known.encode(texts), distilled.encode(texts), atol=0.02)


def test_unused_tokens_and_baked_in_lengths_are_dropped(distilled: sb.Encoder) -> None:
    model = distilled._model
    assert len(model.table) == len(VOCABULARY) - 1  # type: ignore[attr-defined]
    assert distilled.tokens(["unruns a a a a a a a a"]) == [["un", "##run", "##s", *"aaaaaaaa"]]


def test_without_texts_the_tokens_alone_decide(tiny: Path) -> None:
    encoder = sb.distill(sb.Encoder(tiny), 6)
    assert encoder.encode(["cat", "dog"]).shape == (2, 6)
    assert encoder.name == "static-tiny-6"


def test_what_cannot_be_distilled_says_why(tiny: Path, texts: list[str]) -> None:
    teacher = sb.Encoder(tiny)
    for bad in (sb.Encoder(), sb.Encoder(tiny, dims=3), sb.Encoder(tiny, instruction="a"), "a", None):
        with pytest.raises(sb.ArgumentError, match="encoder: expected"):
            sb.distill(bad, 4, texts=texts)  # type: ignore[arg-type]
    with pytest.raises(sb.ArgumentError, match="dims: expected at most the teacher's 6, got 7"):
        sb.distill(teacher, 7, texts=texts)
    with pytest.raises(sb.ArgumentError, match="at least 100 texts"):
        sb.distill(teacher, 4, texts=texts[:99])
    with pytest.raises(sb.ArgumentError, match="int at position 0"):
        sb.distill(teacher, 4, texts=[1])  # type: ignore[list-item]
    for vectors in (np.zeros((3, 6), np.float32), np.full((400, 6), np.nan), np.zeros((400, 6), int)):
        with pytest.raises(sb.ArgumentError, match="vectors: expected finite"):
            sb.distill(teacher, 4, texts=texts, vectors=vectors)


def test_a_file_of_texts_becomes_a_file_of_an_encoder(
    tiny: Path, texts: list[str], tmp_path: Path, distilled: sb.Encoder
) -> None:
    lines = tmp_path / "texts.txt"
    lines.write_text("\n".join(texts) + "\n\n", encoding="utf-8")
    distill_file(tiny, lines, tmp_path / "made", dims=4)
    assert sb.Encoder(tmp_path / "made").fingerprint == distilled.fingerprint
    with pytest.raises(sb.NotFoundError, match="texts: expected a file"):
        distill_file(tiny, tmp_path / "none", tmp_path / "x")
    lines.write_bytes(b"\xff\xfe")
    with pytest.raises(sb.FormatError, match="UTF-8"):
        distill_file(tiny, lines, tmp_path / "x")


def test_conjugate_gradients_solve_the_normal_equations() -> None:
    rng = np.random.default_rng(0)
    bags = fitting.bag_matrix([rng.integers(0, 12, size=rng.integers(1, 7)).tolist() for _ in range(80)], 12)
    targets, guess = (rng.normal(size=shape).astype(np.float32) for shape in ((80, 3), (12, 3)))
    dense = bags.toarray().astype(np.float64)
    np.testing.assert_allclose(dense.sum(axis=1), 1, atol=1e-6)
    exact = np.linalg.solve(dense.T @ dense + 0.1 * np.eye(12), dense.T @ targets + 0.1 * guess)
    found = fitting.conjugate_gradients(bags, targets, guess, 0.1, 60)
    np.testing.assert_allclose(found, exact, atol=1e-4)


# -- imports


def test_importing_loads_no_model_library() -> None:
    code = (
        "import sys, semblance; heavy = {'tokenizers', 'onnxruntime', 'scipy', 'huggingface_hub', 'tqdm', 'asyncio'};"
        "print(sorted(heavy & set(sys.modules)))"
    )
    found = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env=dict(os.environ)
    )
    assert found.stdout.strip() == "[]"


def test_the_embedded_encoder_needs_no_model_library() -> None:
    code = (
        "import sys; sys.modules.update(tokenizers=None, onnxruntime=None, scipy=None, huggingface_hub=None);"
        "import semblance as sb; print(sb.Encoder().encode(['a']).shape)"
    )
    found = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env=dict(os.environ)
    )
    assert found.stdout.strip() == "(1, 256)"
