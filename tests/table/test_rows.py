"""Look-ups, pooling and scores against the slow model, for every format, dimension and thread count."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from semblance.tables import EmbeddingTable

FORMATS = ("f32", "f16", "bf16", "i8", "i4", "i2", "fp8")
MODES = ("sum", "mean", "max")
EVERY_TABLE = settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture], derandomize=True
)


def random_table(seed: int, rows: int, dim: int, dtype: str, **kwargs) -> tuple[EmbeddingTable, np.ndarray]:
    rng = np.random.default_rng(seed)
    weights = (rng.standard_normal((rows, dim)) * rng.choice([1e-3, 0.1, 5.0], (rows, 1))).astype(np.float32)
    return EmbeddingTable.from_dense(weights, dtype, **kwargs), weights


def stored_rows(table: EmbeddingTable) -> np.ndarray:
    return table._tensors()[0]["rows"]


@pytest.mark.parametrize("dtype", FORMATS)
def test_lookup_is_the_model_for_every_dimension(model, dtype):
    for dim in range(1, 131):
        table, _ = random_table(dim, 7, dim, dtype, threads=1)
        np.testing.assert_array_equal(table.lookup(np.arange(7)), model.decode(dtype, stored_rows(table), dim))


@pytest.mark.parametrize("dtype", FORMATS)
@pytest.mark.parametrize("mode", MODES)
def test_pool_is_the_model_for_every_dimension(model, dtype, mode):
    rng = np.random.default_rng(5)
    for dim in [*range(1, 35), 47, 48, 64, 65, 100, 127, 128, 129, 130, 200, 257]:
        table, _ = random_table(dim, 9, dim, dtype, threads=1)
        values, offsets = rng.integers(0, 9, 11), np.array([0, 4, 4, 5, 11])
        bags = [values[a:b] for a, b in itertools.pairwise(offsets)]
        expected = model.pool(
            dtype, stored_rows(table), dim, bags, weights=[np.ones(len(b), np.float32) for b in bags], mode=mode
        )
        np.testing.assert_array_equal(table.pool(values, offsets, mode=mode), expected)


@pytest.mark.parametrize("weighted", [False, True])
def test_fp8_rows_with_a_bias_beside_rows_without(model, weighted):
    """Rows of our own have none, those of other writers may."""
    rng = np.random.default_rng(8)
    for dim in (1, 16, 33, 64, 130):
        table, _ = random_table(dim, 40, dim, "fp8", threads=1)
        tensors, metadata = table._tensors()
        rows = tensors["rows"].copy()
        rows[::3, 2:4] = np.float16(rng.standard_normal((14, 1))).view(np.uint8)
        table = EmbeddingTable._from_tensors({**tensors, "rows": rows}, metadata)
        values, offsets = rng.integers(0, 40, 90), np.array([0, 1, 30, 30, 90])
        factors = (rng.standard_normal(90) if weighted else np.ones(90)).astype(np.float32)
        cuts = list(itertools.pairwise(offsets))
        for mode in ("sum", "mean") if weighted else MODES:
            expected = model.pool(
                "fp8", rows, dim, [values[a:b] for a, b in cuts], weights=[factors[a:b] for a, b in cuts], mode=mode
            )
            got = table.pool(values, offsets, factors if weighted else None, mode)
            np.testing.assert_array_equal(got, expected)


@st.composite
def jagged(draw):
    lengths = draw(st.lists(st.integers(0, 40), min_size=0, max_size=30))
    return np.concatenate([[0], np.cumsum(lengths, dtype=np.int64)]).astype(np.int64)


@EVERY_TABLE
@given(
    st.sampled_from(FORMATS),
    st.sampled_from(MODES),
    st.integers(1, 130),
    jagged(),
    st.booleans(),
    st.integers(0, 2**32),
)
def test_pool_is_the_model(model, dtype, mode, dim, offsets, weighted, seed):
    rng = np.random.default_rng(seed)
    table, _ = random_table(seed, 20, dim, dtype, missing="zero", threads=1)
    values = rng.integers(-3, 24, offsets[-1])
    rows = np.where((values >= 0) & (values < 20), values, -1)
    weights = rng.standard_normal(offsets[-1]).astype(np.float32) if weighted and mode != "max" else None
    factors = np.ones(offsets[-1], np.float32) if weights is None else weights
    spans = list(itertools.pairwise(offsets))
    expected = model.pool(
        dtype,
        stored_rows(table),
        dim,
        [rows[a:b] for a, b in spans],
        weights=[factors[a:b] for a, b in spans],
        mode=mode,
    )
    for threads in (1, 3):
        got = table.pool(values, offsets, weights, mode, threads=threads)
        np.testing.assert_array_equal(got, expected)


@pytest.mark.parametrize("mode", MODES)
def test_long_bags_and_many_threads_give_the_same_bits(model, mode):
    """Bags beyond one chunk of rows go on from their partial sums; enough work for several threads."""
    rng = np.random.default_rng(1)
    table, _ = random_table(1, 500, 40, "i8")
    offsets = np.concatenate([[0, 5, 5], 5 + np.cumsum(rng.integers(0, 3000, 12))])
    values = rng.integers(0, 500, offsets[-1])
    bags = [values[a:b] for a, b in itertools.pairwise(offsets)]
    expected = model.pool(
        "i8", stored_rows(table), 40, bags, weights=[np.ones(len(b), np.float32) for b in bags], mode=mode
    )
    for threads in (0, 1, 2, 5):
        np.testing.assert_array_equal(table.pool(values, offsets, mode=mode, threads=threads), expected)


@EVERY_TABLE
@given(st.sampled_from(FORMATS), st.integers(1, 130), st.integers(0, 2**32))
def test_score_is_the_dot_product(dtype, dim, seed):
    rng = np.random.default_rng(seed)
    table, _ = random_table(seed, 20, dim, dtype, missing="zero", threads=1)
    query, keys = rng.standard_normal(dim).astype(np.float32), rng.integers(-2, 22, (3, 7))
    decoded = table.lookup(keys).astype(np.float64)
    scale = np.abs(decoded) @ np.abs(query).astype(np.float64) + np.abs(query).sum() * 25
    got = table.score(query, keys)
    assert got.shape == keys.shape
    assert np.all(np.abs(got - decoded @ query.astype(np.float64)) <= 1e-6 * scale + 1e-30)
    many = table.score(np.stack([query, -query]), keys[0])
    np.testing.assert_array_equal(many, np.stack([got[0], -got[0]]))
    own = table.score(np.stack([query] * 3), keys)
    np.testing.assert_array_equal(own, got)


@EVERY_TABLE
@given(st.sampled_from(("i8", "i4", "i2")), st.integers(1, 130), st.integers(0, 2**32), st.floats(-4, 4))
def test_integer_formats_are_off_by_half_a_step(model, dtype, dim, seed, offset):
    rng = np.random.default_rng(seed)
    weights = (rng.standard_normal((6, dim)) * 10.0 ** rng.integers(-4, 3) + 10**offset).astype(np.float32)
    table = EmbeddingTable.from_dense(weights, dtype)
    _, scale, _ = model.split_rows(dtype, stored_rows(table), dim)
    constant = np.ptp(weights, axis=1, keepdims=True) == 0
    bound = np.where(constant, np.abs(weights) * 2e-3 + 1e-7, scale * 0.5001 + np.abs(weights) * 1e-6)
    assert np.all(np.abs(table.lookup(np.arange(6)) - weights) <= bound)


def test_float_formats_round_to_nearest():
    x = np.array([[1.0 + 2**-11, -1.0 - 3 * 2**-11, 2.0**-24, 2.0**-26, 65504.0, 0.0, -0.0, 6.1e-5]], np.float32)
    assert EmbeddingTable.from_dense(x, "f32").lookup([0]).tobytes() == x.tobytes()
    half = EmbeddingTable.from_dense(x, "f16").lookup([0])
    assert half.tobytes() == x.astype(np.float16).astype(np.float32).tobytes()
    brain = EmbeddingTable.from_dense(np.array([[1 + 2**-9, 1 + 3 * 2**-9]], np.float32), "bf16").lookup([0])
    assert brain.tolist() == [[1.0, 1 + 4 * 2**-9]]


def test_every_e4m3_value_survives(model):
    """A row that reaches 448 has scale 1, so each finite code must come back as itself."""
    codes = np.array([c for c in range(256) if c & 0x7F != 0x7F], np.uint8)
    values = model.e4m3(codes)
    table = EmbeddingTable.from_dense(values[None], "fp8")
    np.testing.assert_array_equal(table.lookup([0])[0], values)
    np.testing.assert_array_equal(stored_rows(table)[0, 4:], codes)


def test_bytes_a_row():
    weights = np.ones((10, 33), np.float32)
    sizes = {dtype: EmbeddingTable.from_dense(weights, dtype).nbytes for dtype in FORMATS}
    assert sizes == {"f32": 1320, "f16": 660, "bf16": 660, "i8": 370, "i4": 210, "i2": 130, "fp8": 370}
