"""Texts beyond the limit: windows against their definition, stretched positions against NumPy, a passkey by length."""

from __future__ import annotations

import asyncio
import itertools
import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from layered_models import POSITIONS, hidden_states, layered_model, weights, write_layered
from tiny_models import VOCABULARY

import semblance as sb
from semblance.encode import long_texts
from semblance.encode.batching import padded_length

WORDS = ("the", "cat", "dog", "tree", "a", "big", "small")


@pytest.fixture(scope="module", params=["sliced table", "stored range"])
def layered(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    model = layered_model(stored_range=request.param == "stored range")
    return write_layered(tmp_path_factory.mktemp("hub") / "layered", model)


def text(count: int) -> str:
    return " ".join(WORDS[i * i % 7] for i in range(count))


def ids(count: int) -> list[int]:
    return [VOCABULARY[token] for token in ("[CLS]", *text(count).split(), "[SEP]")]


def test_truncation_is_the_default_and_is_seen_in_the_tokens(layered: Path) -> None:
    encoder = sb.Encoder(layered)
    assert np.array_equal(encoder.encode([text(40)]), encoder.encode([text(6)]))
    assert len(encoder.tokens([text(40)])[0]) == encoder.max_tokens == POSITIONS
    assert encoder.token_lengths([text(40), text(6)]).cut == 1


def test_windows_are_the_weighted_mean_of_their_parts(layered: Path) -> None:
    encoder = sb.Encoder(layered, long="windows")
    body, size, step = ids(16)[1:-1], 6, 5
    pieces = [[2, *body[start : start + size], 3] for start in (0, 5, 10)]
    assert 10 + size >= len(body) > 10 - step + size
    vectors = [hidden_states(piece)[-1].mean(axis=0) for piece in pieces]
    expected = np.average(vectors, axis=0, weights=[len(piece) for piece in pieces])
    np.testing.assert_allclose(encoder.encode([text(16)], normalize=False)[0], expected, atol=1e-5)


@pytest.mark.parametrize("method", ["windows", "group", "interpolate"])
def test_what_fits_is_untouched(layered: Path, method: str) -> None:
    short = [text(count) for count in range(7)]
    long = sb.Encoder(layered, long=method)
    together = long.encode([*short, text(50)])
    assert np.array_equal(together[:7], sb.Encoder(layered).encode(short))
    assert np.array_equal(together[7], long.encode([text(50)])[0])
    assert np.array_equal(asyncio.run(long.aencode([text(50), *short])), together[[7, *range(7)]])


@pytest.mark.parametrize("method", ["group", "interpolate"])
@pytest.mark.parametrize("count", [9, 14, 30])
def test_stretched_positions(layered: Path, method: str, count: int) -> None:
    row = ids(count)
    width = padded_length(len(row))
    table = weights()["embeddings.position_embeddings.weight"]
    if method == "group":
        share = -(-width // POSITIONS)
        positions = table[[place // share for place in range(len(row))]]
    else:
        places = [place * (POSITIONS - 1) / (width - 1) for place in range(len(row))]
        positions = np.stack([np.interp(places, range(POSITIONS), column) for column in table.T], axis=1)
    expected = hidden_states(row, positions.astype(np.float32))[-1].mean(axis=0)
    got = sb.Encoder(layered, long=method).encode([text(count)], normalize=False)[0]
    np.testing.assert_allclose(got, expected, atol=1e-5)


def test_max_tokens_bounds_every_way(layered: Path) -> None:
    assert [sb.Encoder(layered, long=method).max_tokens for method in long_texts.METHODS] == [8, 256, 64, 64]
    for method in ("windows", "group", "interpolate"):
        encoder = sb.Encoder(layered, long=method, max_tokens=20)
        assert encoder.max_tokens == 20
        assert np.array_equal(encoder.encode([text(500)]), encoder.encode([text(18)]))


def test_an_instruction_is_in_every_window(layered: Path) -> None:
    encoder = sb.Encoder(layered, long="windows", instruction="the big ", pool_instruction=False)
    body = ids(9)[1:-1]
    pieces = [[2, 11, 12, *body[start : start + 4], 3] for start in (0, 3, 6)]
    pieces = [[2, VOCABULARY["the"], VOCABULARY["big"], *piece[3:]] for piece in pieces]
    vectors = [hidden_states(piece)[-1][3:].mean(axis=0) for piece in pieces]
    expected = np.average(vectors, axis=0, weights=[len(piece) for piece in pieces])
    np.testing.assert_allclose(encoder.encode([text(9)], normalize=False)[0], expected, atol=1e-5)


def test_a_model_without_a_table_of_positions_says_so(tiny: Path) -> None:
    with pytest.raises(sb.UnsupportedError, match="expected a model with a table of positions"):
        sb.Encoder(tiny, long="interpolate")
    assert sb.Encoder(tiny, long="windows").encode([text(50)]).shape == (1, 6)
    for bad in ("cut", None, 3):
        with pytest.raises(sb.ArgumentError, match="long: expected one of truncate, windows"):
            sb.Encoder(tiny, long=bad)  # type: ignore[arg-type]


def test_ten_megabytes_end(layered: Path) -> None:
    for method in ("windows", "group", "interpolate"):
        vectors = sb.Encoder(layered, long=method).encode(["the big dog " * 900_000])
        assert np.isfinite(vectors).all()


class _Ends:
    prefix, suffix = [1, 2], [3]


@given(st.integers(0, 60), st.integers(0, 3), st.integers(7, 20))
def test_windows_cover_a_text_without_a_gap(count: int, told: int, limit: int) -> None:
    row = [1, 2, *range(100, 100 + told), *range(1000, 1000 + count), 3]
    pieces = long_texts.windows(row, _Ends(), told, limit)  # type: ignore[arg-type]
    assert all(len(piece) <= limit for piece in pieces)
    assert all(piece[: 2 + told] == row[: 2 + told] and piece[-1] == 3 for piece in pieces)
    bodies = [piece[2 + told : -1] for piece in pieces]
    assert sorted({token for body in bodies for token in body}) == row[2 + told : -1]
    assert all(set(a) & set(b) for a, b in itertools.pairwise(bodies) if limit - told > 7)
    assert len(pieces) == 1 or len(bodies[-1]) > 0


def passkey_accuracy(encoder: sb.Encoder, words: int) -> float:
    """Share of people whose passkey, hidden in a document of so many words, is found by name (as in LongEmbed)."""
    names = ["Maria", "Otto", "Ahmed", "Ingrid", "Pablo"]
    sentences = "The grass is green. The sky is blue. The sun is yellow. Here we go. There and back again."
    filler = sentences.split()
    documents = []
    for number, name in enumerate(names):
        before = (words - 12) * (2 * number + 1) // (2 * len(names))
        rest = words - 12 - before
        fill = [filler[i % len(filler)] for i in range(before + rest)]
        key = f"{name}'s pass key is {71_234 + 8_761 * number}. Remember it. {name}'s is {71_234 + 8_761 * number}."
        documents.append(" ".join([*fill[:before], key, *fill[before:]]))
    scores = encoder.encode([f"what is the pass key of {name}?" for name in names]) @ encoder.encode(documents).T
    return float((scores.argmax(axis=1) == np.arange(len(names))).mean())


@pytest.mark.data
def test_a_passkey_is_found_at_every_length() -> None:
    folder = Path(os.environ["SEMBLANCE_DATA"]) / "minilm"
    found = {
        method: [passkey_accuracy(sb.Encoder(folder, device="cpu", long=method), words) for words in (80, 500)]
        for method in long_texts.METHODS
    }
    short, long = (dict(zip(found, column, strict=True)) for column in zip(*found.values(), strict=True))
    assert set(short.values()) == {1.0}, found  # all fit
    assert long["truncate"] <= 0.5, found  # the key of most lies beyond the limit
    assert all(long[method] > long["truncate"] for method in ("windows", "group", "interpolate")), found
