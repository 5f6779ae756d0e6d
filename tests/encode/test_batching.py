"""Batch plans and pooling against their definitions."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from semblance.encode import batching, pooling


@given(st.lists(st.integers(0, 700), max_size=200), st.integers(1, 5000))
def test_a_plan_gives_every_text_once_within_the_budget(lengths: list[int], budget: int) -> None:
    batches = list(batching.plan(lengths, budget))
    assert sorted(np.concatenate(batches).tolist() if batches else []) == list(range(len(lengths)))
    for positions in batches:
        widths = {batching.padded_length(lengths[position]) for position in positions}
        assert len(widths) == 1
        assert len(positions) == 1 or len(positions) * widths.pop() <= budget
        assert len(positions) <= batching.MAX_ROWS


@given(st.integers(0, 100_000))
def test_padding_is_little_and_depends_on_the_length_alone(length: int) -> None:
    padded = batching.padded_length(length)
    assert max(length, 1) <= padded <= max(length + 63, 2)
    assert padded <= max(1.25 * length, length + 1)
    assert batching.padded_length(length + 1) >= padded


def test_most_of_a_batch_is_text() -> None:
    lengths = (3 + np.random.default_rng(0).gamma(3, 5, size=4096)).astype(int).tolist()
    spent = sum(len(b) * max(batching.padded_length(lengths[i]) for i in b) for b in batching.plan(lengths, 4096))
    assert spent / sum(lengths) < 1.05


def test_padded_rows_keep_their_ids() -> None:
    ids, lengths = batching.padded([[5, 6, 7], [8]], pad_id=9)
    assert ids.tolist() == [[5, 6, 7, 9], [8, 9, 9, 9]]
    assert lengths.tolist() == [3, 1]


@given(st.lists(st.integers(1, 9), min_size=1, max_size=6), st.integers(0, 2**32 - 1))
def test_padding_never_reaches_a_pooled_vector(lengths: list[int], seed: int) -> None:
    rng = np.random.default_rng(seed)
    hidden = rng.normal(size=(len(lengths), 10, 4)).astype(np.float32)
    counts = np.array(lengths)
    for method in pooling.POOLINGS:
        before = pooling.pool(hidden, counts, method)
        spoilt = hidden.copy()
        for row, length in enumerate(lengths):
            spoilt[row, length:] = 1e6
        assert np.array_equal(pooling.pool(spoilt, counts, method), before)


def test_a_row_of_zeros_stays_under_normalisation() -> None:
    vectors = np.array([[0, 0], [3, 4]], np.float32)
    np.testing.assert_allclose(pooling.unit(vectors), [[0, 0], [0.6, 0.8]])


def test_usable_cores_obey_the_affinity() -> None:
    assert 1 <= batching.usable_cores() <= 4096
