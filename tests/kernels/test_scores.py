"""Scores and conversions of every instruction set against NumPy's."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import semblance as sb
from semblance._core import kernels

pytestmark = pytest.mark.once  # names every instruction set itself

ISAS = sb.kernels.available()
every_isa = pytest.mark.parametrize("isa", ISAS)
Array = np.ndarray[Any, np.dtype[Any]]


def as_rows(array: Array) -> Array:
    """Any contiguous (n, d) array as its bytes, uint8 of shape (n, d * itemsize)."""
    return array.view(np.uint8).reshape(len(array), array.shape[1] * array.itemsize)


def bits_to_float(bits: Array) -> Array:
    return bits.astype(np.uint32).view(np.float32)


@every_isa
def test_f16_conversions_equal_numpys_bit_for_bit(isa: str) -> None:
    patterns = np.arange(65536, dtype=np.uint16)
    values = patterns.view(np.float16).astype(np.float32)
    decoded = kernels.decode_rows("f16", as_rows(patterns.reshape(1, -1)), 65536, isa=isa)[0]
    nan = np.isnan(values)
    assert np.array_equal(np.isnan(decoded), nan)
    assert np.array_equal(decoded[~nan].view(np.uint32), values[~nan].view(np.uint32))

    finite = np.sort(values[np.isfinite(values)])
    ties = ((finite[1:].astype(np.float64) + finite[:-1]) / 2).astype(np.float32)
    beside = [np.nextafter(ties, np.float32(side)) for side in (-np.inf, np.inf)]
    extremes = np.array(
        [65504, 65519.996, 65520, 65536, 3e38, 2**-24, 2**-25, 1e-45, np.inf, -np.inf, -0.0], np.float32
    )
    inputs = np.concatenate([values[~nan], ties, *beside, extremes, -extremes])
    with np.errstate(over="ignore"):
        want = inputs.astype(np.float16).view(np.uint16)
    for chunk, expected in zip(np.array_split(inputs, 9), np.array_split(want, 9), strict=True):
        got = kernels.encode_rows("f16", chunk.reshape(1, -1), isa=isa).view(np.uint16)[0]
        assert np.array_equal(got, expected)


@every_isa
@given(bits=hnp.arrays(np.uint32, st.integers(1, 70), elements=st.integers(0, 2**32 - 1)))
def test_bf16_rounds_to_nearest_even(isa: str, bits: Array) -> None:
    values = bits_to_float(bits)
    got = kernels.encode_rows("bf16", values.reshape(1, -1), isa=isa).view(np.uint16)[0]
    number = ~np.isnan(values)
    halfway = bits.astype(np.uint64) + 0x7FFF + ((bits >> 16) & 1)
    assert np.array_equal(got[number], (halfway >> 16).astype(np.uint16)[number])
    back = kernels.decode_rows("bf16", as_rows(got.reshape(1, -1)), got.size, isa=isa)[0]
    assert np.array_equal(np.isnan(back), ~number)
    assert np.array_equal(back[number].view(np.uint32), (got[number].astype(np.uint32) << 16))


FEW_ROWS = hnp.arrays(
    np.float32,
    st.tuples(st.integers(1, 3), st.integers(1, 70)),
    elements=st.floats(-(2.0**50), 2.0**50, width=32, allow_subnormal=False),
)


@every_isa
@given(rows=FEW_ROWS)
def test_i8_rows_are_within_half_a_step(isa: str, rows: Array) -> None:
    codes = kernels.encode_rows("i8", rows, isa=isa)
    assert np.array_equal(codes, kernels.encode_rows("i8", rows, isa="scalar"))
    dim = rows.shape[1]
    tail = np.ascontiguousarray(codes[:, (dim + 3) // 4 * 4 :]).view(np.float32)
    scale = np.abs(rows).max(axis=1) / np.float32(127)
    assert np.array_equal(tail[:, 0], scale)
    whole = codes[:, :dim].astype(np.float64) - 128
    assert np.array_equal(np.abs(whole).max(axis=1), np.where(scale > 0, 127, 0))
    np.testing.assert_allclose(
        tail[:, 1], scale.astype(np.float64) ** 2 * (whole**2).sum(axis=1), rtol=1e-6, atol=2e-45
    )
    decoded = kernels.decode_rows("i8", codes, dim, isa=isa)
    assert np.array_equal(decoded, (whole * scale[:, None]).astype(np.float32))
    assert np.all(np.abs(decoded - rows.astype(np.float64)) <= 0.5001 * scale[:, None] + 1e-43)


@every_isa
@given(rows=FEW_ROWS)
def test_halves_are_those_of_the_i8_codes(isa: str, rows: Array) -> None:
    dim, plane = rows.shape[1], (rows.shape[1] + 7) // 8 * 4
    whole, cut = (kernels.encode_rows(name, rows, isa=isa) for name in ("i8", "i4x2"))
    assert np.array_equal(cut, kernels.encode_rows("i4x2", rows, isa="scalar"))
    assert np.array_equal(cut[:, : plane + 8], kernels.encode_rows("i4", rows, isa=isa))

    def halves(planes: Array) -> Array:
        return np.concatenate([planes & 15, planes >> 4], axis=1)[:, :dim]

    assert np.array_equal(halves(cut[:, :plane]), whole[:, :dim] >> 4)
    assert np.array_equal(halves(cut[:, plane + 8 : 2 * plane + 8]), whole[:, :dim] & 15)
    decoded = kernels.decode_rows("i8", whole, dim, isa=isa)
    assert np.array_equal(kernels.decode_rows("i4x2", cut, dim, isa=isa), decoded)
    front = kernels.decode_rows("i4", cut, dim, isa=isa).astype(np.float64)
    squares = (decoded.astype(np.float64) ** 2).sum(axis=1)  # what the front's scale keeps
    assert np.allclose((front * decoded).sum(axis=1), squares, rtol=1e-5, atol=1e-37)


@every_isa
@pytest.mark.parametrize("dim", [1, 7, 31, 64, 100, 384, 1025])
@pytest.mark.parametrize("format", ["f32", "f16", "bf16", "i8", "i4x2"])
def test_scores_equal_numpys(isa: str, dim: int, format: str) -> None:
    rng = np.random.default_rng(dim)
    rows, query = rng.standard_normal((29, dim), np.float32), rng.standard_normal(dim, np.float32)
    codes = kernels.encode_rows(format, rows, isa=isa)
    if format in ("i8", "i4x2"):
        decoded_query = kernels.decode_rows("i8", kernels.encode_rows("i8", query[None], isa=isa), dim, isa=isa)[0]
    else:
        decoded_query = query
    exact = kernels.decode_rows(format, codes, dim, isa=isa).astype(np.float64)
    ids = rng.integers(0, 29, 50).astype(np.uint32)
    ip, l2 = -exact @ decoded_query, ((exact - decoded_query) ** 2).sum(axis=1)
    for score, want in (("ip", ip), ("l2", l2)):
        got = kernels.score_rows(format, score, query, codes, isa=isa)
        np.testing.assert_allclose(got, want, rtol=2e-6, atol=2e-6 * dim)
        chosen = kernels.score_rows(format, score, query, codes, ids, isa=isa)
        assert np.array_equal(chosen, got[ids])
        if format in ("i8", "i4x2"):
            assert np.array_equal(got, kernels.score_rows(format, score, query, codes, isa="scalar"))
            whole = kernels.encode_rows("i8", rows, isa=isa)
            assert np.array_equal(got, kernels.score_rows("i8", score, query, whole, isa=isa))


@every_isa
@pytest.mark.parametrize("width", [1, 8, 31, 32, 33, 48, 64, 65, 200])
def test_bit_scores_equal_numpys(isa: str, width: int) -> None:
    rng = np.random.default_rng(width)
    rows, query = rng.integers(0, 256, (21, width), np.uint8), rng.integers(0, 256, width, np.uint8)
    a, b = np.unpackbits(rows, axis=1).astype(bool), np.unpackbits(query).astype(bool)
    assert np.array_equal(kernels.score_rows("bits", "hamming", query, rows, isa=isa), (a ^ b).sum(axis=1))
    jaccard = 1 - (a & b).sum(axis=1) / np.maximum((a | b).sum(axis=1), 1)
    np.testing.assert_allclose(kernels.score_rows("bits", "jaccard", query, rows, isa=isa), jaccard, rtol=1e-6)


@every_isa
@pytest.mark.parametrize("score", ["ip", "l2"])
@pytest.mark.parametrize(("n", "m", "dim"), [(1, 1, 1), (3, 5, 7), (33, 70, 100), (2, 3, 9000), (0, 4, 5), (4, 0, 5)])
def test_tiles_equal_rows_bit_for_bit(isa: str, score: str, n: int, m: int, dim: int) -> None:
    rng = np.random.default_rng(n + m)
    queries, rows = rng.standard_normal((n, dim), np.float32), rng.standard_normal((m, dim), np.float32)
    tile = kernels.score_tile(score, queries, rows, isa=isa)
    assert tile.shape == (n, m)
    for query, scores in zip(queries, tile, strict=True):
        assert np.array_equal(scores, kernels.score_rows("f32", score, query, as_rows(rows), isa=isa))


ROWS = np.ones((2, 8), np.float32)
BAD_CALLS = [
    (
        lambda: kernels.score_rows("f64", "ip", ROWS[0], as_rows(ROWS)),
        "format: expected one of f32, f16, bf16, i8, i4, i4x2, bits, got 'f64'",
    ),
    (
        lambda: kernels.score_rows("f32", "cosine", ROWS[0], as_rows(ROWS)),
        "score: expected one of ip, l2, hamming, jaccard, got",
    ),
    (
        lambda: kernels.score_rows("f32", "hamming", ROWS[0], as_rows(ROWS)),
        "score: expected one that f32 rows have, got hamming",
    ),
    (
        lambda: kernels.score_rows("f32", "ip", ROWS[0].astype(float), as_rows(ROWS)),
        "query: expected contiguous float32",
    ),
    (
        lambda: kernels.score_rows("f32", "ip", ROWS[0], as_rows(ROWS)[:, :31].copy()),
        "rows: expected at least 32 bytes a row, got 31",
    ),
    (
        lambda: kernels.score_rows("f32", "ip", ROWS[0], as_rows(ROWS), np.array([2], np.uint32)),
        "ids: expected row numbers below 2",
    ),
    (lambda: kernels.score_rows("f32", "ip", ROWS[0], as_rows(ROWS), isa="sse"), "isa: expected one of scalar"),
    (
        lambda: kernels.score_rows("i8", "ip", ROWS[0] * np.nan, as_rows(ROWS)),
        "query: expected finite values, got NaN or inf",
    ),
    (lambda: kernels.score_tile("ip", ROWS, ROWS[:, :4].copy()), "rows: expected float32 of shape"),
    (lambda: kernels.score_tile("ip", ROWS, ROWS[:, ::2]), "rows: expected contiguous float32"),
    (lambda: kernels.encode_rows("i8", ROWS * np.inf), "rows: expected finite values"),
    (lambda: kernels.encode_rows("bits", ROWS), "format: expected one of f32, f16, bf16, i8, i4, i4x2, got 'bits'"),
    (lambda: kernels.decode_rows("f16", as_rows(ROWS), 17), "codes: expected at least 34 bytes a row, got 32"),
    (lambda: kernels.decode_rows("f16", as_rows(ROWS), 2**40), "dim: expected at most 65536 values a row"),
]


@pytest.mark.parametrize(("call", "message"), BAD_CALLS, ids=[message[:40] for _, message in BAD_CALLS])
def test_bad_arguments_are_refused(call: Any, message: str) -> None:
    with pytest.raises(sb.ArgumentError) as caught:
        call()
    assert str(caught.value).startswith(message)


def test_a_lacking_instruction_set_is_refused() -> None:
    lacking = "avx2" if "neon" in ISAS else "neon"
    with pytest.raises(sb.UnsupportedError, match="which this build or this processor lacks"):
        kernels.score_tile("ip", ROWS, ROWS, isa=lacking)
