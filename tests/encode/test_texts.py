"""What an encoder is given: checks, order, lengths, empties; by the tiny ONNX model and the embedded encoder."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from tiny_models import VOCABULARY, token_rows, unit

import semblance as sb

TEXTS = ["the cat runs.", "a big dog sleeps", "tree", "small small small tree.", "the big big big big big big dog", "."]


@pytest.fixture(scope="module", params=["onnx", "static"])
def encoder(request: pytest.FixtureRequest, tiny: Path) -> sb.Encoder:
    return sb.Encoder(tiny, device="cpu") if request.param == "onnx" else sb.Encoder()


def test_vectors_of_the_tiny_model_are_means_of_its_rows(tiny: Path) -> None:
    rows = token_rows()
    ids = [VOCABULARY[token] for token in ("[CLS]", "the", "cat", "runs", ".", "[SEP]")]
    expected = unit(rows[ids].mean(axis=0, keepdims=True))
    np.testing.assert_allclose(sb.Encoder(tiny).encode(["The cat runs."]), expected, atol=1e-6)


def test_results_keep_the_order_whatever_the_batches(encoder: sb.Encoder) -> None:
    alone = np.concatenate([encoder.encode([text]) for text in TEXTS])
    for batch_tokens in (1, 8, 33, 10_000):
        assert np.array_equal(encoder.encode(TEXTS, batch_tokens=batch_tokens), alone)
    assert np.array_equal(encoder.encode(TEXTS[::-1])[::-1], alone)


def test_generators_tuples_and_arrays_of_str_are_read(encoder: sb.Encoder) -> None:
    expected = encoder.encode(TEXTS)
    for given in ((text for text in TEXTS), tuple(TEXTS), np.array(TEXTS), dict.fromkeys(TEXTS).keys()):
        assert np.array_equal(encoder.encode(given), expected)


def test_a_long_generator_crosses_windows(encoder: sb.Encoder) -> None:
    count = 9_001
    vectors = encoder.encode(TEXTS[i % 6] for i in range(count))
    assert vectors.shape == (count, encoder.dim)
    assert np.array_equal(vectors[8_994:9_000], encoder.encode(TEXTS))


def test_vectors_are_unit_length_unless_asked_otherwise(encoder: sb.Encoder) -> None:
    np.testing.assert_allclose(np.linalg.norm(encoder.encode(TEXTS), axis=1), 1, atol=1e-6)
    raw = encoder.encode(TEXTS, normalize=False)
    assert raw.dtype == np.float32
    assert np.abs(np.linalg.norm(raw, axis=1) - 1).max() > 1e-3
    np.testing.assert_allclose(unit(raw), encoder.encode(TEXTS), atol=1e-6)


def test_no_texts_give_no_rows(encoder: sb.Encoder) -> None:
    for nothing in ([], (), iter([])):
        assert encoder.encode(nothing).shape == (0, encoder.dim)
    assert encoder.tokens([]) == []


@pytest.mark.parametrize("text", ["", "   ", "\n\t", "\u200b", "\0"])
def test_a_text_without_words_has_a_unit_vector(encoder: sb.Encoder, text: str) -> None:
    vector = encoder.encode([text, "cat"])[0]
    assert np.isclose(np.linalg.norm(vector), 1, atol=1e-6)
    assert np.array_equal(vector, encoder.encode([""])[0])


def test_lone_surrogates_count_as_the_replacement_character(encoder: sb.Encoder) -> None:
    given = encoder.encode(["big \ud800 dog", "\udfff", "\ud83d\ude00 tree"])
    assert np.array_equal(given[:2], encoder.encode(["big \ufffd dog", "\ufffd"]))
    assert np.isfinite(given).all()


@pytest.mark.parametrize(
    ("texts", "words"),
    [
        ("one text", "a single str"),
        (b"bytes", "a single bytes"),
        (7, "got int"),
        (None, "got NoneType"),
        (["a", 7], "int at position 1"),
        (["a", None, "b"], "NoneType at position 1"),
        ([b"a"], "bytes at position 0"),
        ({"a": 1, 1.5: 2}.keys(), "float at position 1"),
        (np.arange(3), "at position 0"),
    ],
)
def test_what_is_no_text_is_refused(encoder: sb.Encoder, texts: object, words: str) -> None:
    with pytest.raises(sb.ArgumentError, match=words):
        encoder.encode(texts)  # type: ignore[arg-type]


@pytest.mark.parametrize("bad", [0, -1, 2.5, True, "many"])
def test_batch_tokens_is_a_positive_integer(encoder: sb.Encoder, bad: object) -> None:
    with pytest.raises(sb.ArgumentError, match="batch_tokens: expected an integer"):
        encoder.encode(["a"], batch_tokens=bad)  # type: ignore[arg-type]


def test_ten_megabytes_of_text_are_cut(encoder: sb.Encoder) -> None:
    sentence = "the big dog sleeps . "
    vectors = encoder.encode([sentence * 500_000, "x" * 10_000_000, " " * 10_000_000])
    assert np.isfinite(vectors).all()
    assert np.array_equal(vectors[0], encoder.encode([sentence * 600])[0])


def test_clipping_never_changes_a_kept_token(tiny: Path) -> None:
    encoder = sb.Encoder(tiny, max_tokens=5)
    spaced = "a" + " " * 300 + "dog" + "\n" * 100 + "runs tree"
    assert encoder.tokens([spaced]) == [["[CLS]", "a", "dog", "runs", "[SEP]"]]


def test_progress_is_told_to_the_end(encoder: sb.Encoder) -> None:
    seen: list[tuple[int, int]] = []
    encoder.encode(TEXTS, batch_tokens=10, progress=lambda done, total: seen.append((done, total)))
    assert seen[-1] == (6, 6)
    assert [done for done, _ in seen] == sorted({done for done, _ in seen})
    seen.clear()
    encoder.encode(iter(TEXTS), progress=lambda done, total: seen.append((done, total)))
    assert seen[-1] == (6, 0)


def test_a_bar_is_drawn(encoder: sb.Encoder, capsys: pytest.CaptureFixture[str]) -> None:
    encoder.encode(TEXTS, progress=True)
    assert "6/6" in capsys.readouterr().err


def test_dims_keeps_the_first_dimensions_at_unit_length(tiny: Path) -> None:
    full = sb.Encoder(tiny).encode(TEXTS)
    short = sb.Encoder(tiny, dims=4)
    assert short.dim == 4
    np.testing.assert_allclose(short.encode(TEXTS), unit(full[:, :4]), atol=1e-6)
    for bad in (0, 7, -1, "4", 2.0):
        with pytest.raises(sb.ArgumentError, match="dims: expected"):
            sb.Encoder(tiny, dims=bad)  # type: ignore[arg-type]


def test_an_instruction_goes_before_every_text(tiny: Path) -> None:
    told = sb.Encoder(tiny, instruction="the big ")
    assert np.array_equal(told.encode(["dog", "tree"]), sb.Encoder(tiny).encode(["the big dog", "the big tree"]))
    assert told.tokens(["dog"]) == [["[CLS]", "the", "big", "dog", "[SEP]"]]


def test_fingerprints_differ_with_everything_that_changes_a_vector(tiny: Path) -> None:
    made = [
        sb.Encoder(tiny),
        sb.Encoder(tiny, pooling="cls"),
        sb.Encoder(tiny, dims=4),
        sb.Encoder(tiny, instruction="a "),
        sb.Encoder(tiny, max_tokens=6),
        sb.Encoder(),
        sb.Encoder(max_tokens=6),
    ]
    assert len({encoder.fingerprint for encoder in made}) == len(made)
    assert sb.Encoder(tiny).fingerprint == made[0].fingerprint
    assert sb.Encoder(tiny, threads=1, device="cpu").fingerprint == made[0].fingerprint


def test_an_array_without_axes_is_no_list_of_texts() -> None:
    with pytest.raises(sb.ArgumentError, match="texts: expected an iterable of str"):
        sb.Encoder().encode(np.array(3))


def test_the_tokenizer_file_is_read_once(tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Reading it takes ten milliseconds for a real vocabulary: twice what a model needs for one text."""
    encoder = sb.Encoder(tiny)
    before = encoder.encode(["a"])

    def parsed_again(*_: object, **__: object) -> None:
        raise AssertionError("the tokenizer's file was parsed again")

    monkeypatch.setattr(json, "loads", parsed_again)
    np.testing.assert_array_equal(encoder.encode(["a"]), before)
