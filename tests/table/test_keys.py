"""Keys, policies for unknown ones, padding, and refusal of every wrong argument."""

from __future__ import annotations

import threading

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import semblance as sb
from semblance.tables import EmbeddingTable

WEIGHTS = np.arange(12, dtype=np.float32).reshape(4, 3)


def table(**kwargs) -> EmbeddingTable:
    return EmbeddingTable.from_dense(WEIGHTS, "f32", **kwargs)


@settings(max_examples=80, deadline=None, derandomize=True)
@given(st.sets(st.integers(-(2**63), 2**63 - 1), min_size=0, max_size=400), st.integers(0, 2**32))
def test_any_64_bit_keys(keys, seed):
    rng = np.random.default_rng(seed)
    own = rng.permutation(np.array(sorted(keys), np.int64))
    weights = rng.standard_normal((len(own), 2)).astype(np.float32)
    built = EmbeddingTable.from_dense(weights, "f32", keys=own, missing="zero")
    np.testing.assert_array_equal(built.lookup(own), weights)
    strange = rng.integers(-(2**63), 2**63 - 1, 50)
    row = {key: weights[i] for i, key in enumerate(own.tolist())}
    np.testing.assert_array_equal(built.lookup(strange), [row.get(key, np.zeros(2)) for key in strange.tolist()])


def test_many_sequential_and_many_equal_low_bits():
    for own in (np.arange(20_000), np.arange(20_000) << 40, -np.arange(20_000)):
        built = EmbeddingTable.from_dense(np.arange(20_000, dtype=np.float32)[:, None], "f32", keys=own)
        np.testing.assert_array_equal(built.lookup(own)[:, 0], np.arange(20_000))
        assert built.stats()["keys_nbytes"] < 20_000 * 20


def test_string_keys():
    built = table(keys=["", "a", "ä" * 50, "abcdefghi"], missing="zero", padding="a")
    assert built.lookup("abcdefghi").tolist() == [9, 10, 11]
    assert built.lookup(np.array([["", "a"], ["ä" * 50, "b"]])).tolist() == [
        [[0, 1, 2], [0, 0, 0]],
        [[6, 7, 8], [0, 0, 0]],
    ]
    assert "" in built
    assert "b" not in built
    assert built.pool(["", "abcdefghi", "a"], [0, 3], mode="mean").tolist() == [[4.5, 5.5, 6.5]]


def test_policies():
    assert table(missing="zero").lookup([-1, 4]).tolist() == [[0, 0, 0], [0, 0, 0]]
    assert table(missing="mean").lookup([9, 0]).tolist() == [[4.5, 5.5, 6.5], [0, 1, 2]]
    assert table(missing="row:2").lookup(7).tolist() == [6, 7, 8]
    assert table(keys=[10, 20, 30, 40], missing="row:0").lookup([40, 0]).tolist() == [[9, 10, 11], [0, 1, 2]]
    with pytest.raises(
        sb.ArgumentError, match=r"keys: expected row numbers from 0 to 4 exclusive, got 4 at position 1"
    ):
        table().lookup([0, 4])
    with pytest.raises(sb.NotFoundError, match=r"keys: expected keys of the table, got 5 at position 0"):
        table(keys=[10, 20, 30, 40]).lookup([5])


def test_unknown_keys_are_zero_rows_and_padding_is_none():
    built = table(missing="zero", padding=-1)
    assert built.pool([1, -1, 3], [0, 3], mode="mean").tolist() == [[6, 7, 8]]
    assert built.pool([1, 77], [0, 2], mode="mean").tolist() == [[1.5, 2, 2.5]]
    negative = EmbeddingTable.from_dense(-WEIGHTS - 1, "f32", missing="zero", padding=-1)
    assert negative.pool([1, 77, 1, -1, -1], [0, 2, 4, 5], mode="max").tolist() == [[0, 0, 0], [-4, -5, -6], [0, 0, 0]]
    assert negative.score(np.ones(3, np.float32), [77, -1, 0]).tolist() == [0, 0, -6]
    assert negative.stats()["unknown_keys"] == 2


def test_a_refused_call_leaves_out_alone():
    out = np.full((2, 3), 7, np.float32)
    for built in (table(), table(keys=[0, 1, 2, 3])):
        with pytest.raises(sb.Error):
            built.lookup([0, 9], out)
        with pytest.raises(sb.Error):
            built.pool([0, 9], [0, 1, 2], out=out)
        assert (out == 7).all()
    assert table().lookup([1, 2], out) is out
    assert out.tolist() == WEIGHTS[1:3].tolist()


@pytest.mark.parametrize(
    ("weights", "kwargs", "message"),
    [
        (np.array([[1, np.nan]], np.float32), {}, "weights: expected finite"),
        (np.array([[1, np.inf]], np.float32), {"dtype": "f32"}, "weights: expected finite"),
        (np.array([[1, 70000.0]], np.float32), {"dtype": "f16"}, "range of f16"),
        (np.array([[1, 70000.0]], np.float32), {}, "range of i8"),
        (np.ones((2, 2)), {}, "weights: expected float32"),
        (np.ones(3, np.float32), {}, r"of shape \(n, d\)"),
        (np.ones((2, 0), np.float32), {}, "at least one column"),
        (WEIGHTS, {"dtype": "i3"}, "dtype: expected one of f32"),
        (WEIGHTS, {"dtype": np.zeros(0)}, "dtype: expected one of f32"),
        (WEIGHTS, {"missing": np.zeros(3)}, "missing: expected"),
        (WEIGHTS, {"keys": [1, 2, 3, 1]}, "every key once, got key 1 in rows 0 and 3"),
        (WEIGHTS, {"keys": ["a", "b", "a", "c"]}, "every key once, got 'a' at positions 0 and 2"),
        (WEIGHTS, {"keys": [1, 2, 3]}, "keys: expected shape"),
        (WEIGHTS, {"keys": [1.0, 2.0, 3.0, 4.0]}, "keys: expected integers"),
        (WEIGHTS, {"keys": ["a", "b", "\ud800", "c"]}, "strings that UTF-8 can hold"),
        (WEIGHTS, {"missing": "row:4"}, "missing: expected"),
        (WEIGHTS, {"missing": "row:-1"}, "missing: expected"),
        (WEIGHTS, {"missing": "first"}, "missing: expected"),
        (WEIGHTS, {"padding": "a"}, "padding: expected integers"),
        (WEIGHTS, {"threads": -1}, "threads: expected"),
    ],
)
def test_refused_builds(weights, kwargs, message):
    with pytest.raises(sb.ArgumentError, match=message):
        EmbeddingTable.from_dense(weights, **kwargs)


def test_ragged_queries_are_refused():
    with pytest.raises(sb.ArgumentError, match="query: expected float32"):
        EmbeddingTable.from_dense(WEIGHTS).score([[1.0, 2.0], [1.0]], [0])


def test_no_keys_of_any_type_are_no_keys():
    assert EmbeddingTable.from_dense(WEIGHTS).lookup(np.zeros((0, 2), np.complex64)).shape[:2] == (0, 2)


@pytest.mark.parametrize(
    ("values", "offsets", "kwargs", "message"),
    [
        ([0, 1], [1, 2], {}, "offsets: expected a start at 0, got 1"),
        ([0, 1], [0, 2, 1, 2], {}, "never decreases, got 1 at position 2"),
        ([0, 1], [0, 3], {}, "offsets: expected an end at 2, the number of values, got 3"),
        ([0, 1], [0, 1], {}, "an end at 2"),
        ([0, 1], [0, -(2**63), 2], {}, "never decreases"),
        ([0, 1], [0, 2**63 - 1, 2], {}, "never decreases"),
        ([0, 1], [], {}, r"offsets: expected shape \(bags \+ 1,\)"),
        ([0, 1], [[0, 2]], {}, "offsets: expected contiguous int64"),
        ([0, 1], [0.0, 2.0], {}, "offsets: expected integers"),
        ([[0, 1]], [0, 2], {}, "values: expected"),
        ([0, -1], [0, 2], {}, "row numbers from 0 to 4 exclusive, got -1"),
        ([0, 1], [0, 2], {"weights": [1.0]}, "weights: expected"),
        ([0, 1], [0, 2], {"weights": [1.0, float("nan")]}, "weights: expected finite"),
        ([0, 1], [0, 2], {"weights": [1.0, 1.0], "mode": "max"}, "weights: expected None with mode 'max'"),
        ([0, 1], [0, 2], {"mode": "median"}, "mode: expected 'sum', 'mean' or 'max', got 'median'"),
        ([0, 1], [0, 2], {"out": np.zeros((2, 3), np.float32)}, r"out: expected float32 of shape \(1, 3\)"),
        ([0, 1], [0, 2], {"out": np.zeros((1, 3))}, "out: expected float32"),
        ([0, 1], [0, 2], {"out": np.zeros((1, 6), np.float32)[:, ::2]}, "out: expected a writable C-contiguous"),
    ],
)
def test_refused_pools(values, offsets, kwargs, message):
    with pytest.raises(sb.ArgumentError, match=message):
        table().pool(values, offsets, **kwargs)


def test_refused_scores_and_lookups():
    built = table()
    for query, keys, message in [
        (np.ones(4, np.float32), [0], "query: expected contiguous float32 of shape"),
        (np.array([1, np.nan, 1], np.float32), [0], "query: expected finite"),
        (np.ones((2, 3), np.float32), np.zeros((3, 1), int), "keys: expected shape"),
        (np.ones(3), [0], "query: expected float32"),
    ]:
        with pytest.raises(sb.ArgumentError, match=message):
            built.score(query, keys)
    for keys in (["a"], [0.5], [True], None):
        with pytest.raises(sb.ArgumentError, match="keys: expected"):
            built.lookup(keys)
    with pytest.raises(sb.ArgumentError, match="keys: expected strings"):
        table(keys=list("abcd")).lookup([1])


def test_shapes_and_empty_calls():
    built = table()
    assert built.lookup(2).shape == (3,)
    assert built.lookup(np.zeros((2, 0, 5), int)).shape == (2, 0, 5, 3)
    assert built.lookup([]).shape == (0, 3)
    assert built.pool([], [0]).shape == (0, 3)
    assert built.pool([], [0, 0]).tolist() == [[0, 0, 0]]
    assert built.lookup(np.array([3, 1], np.uint64)).tolist() == WEIGHTS[[3, 1]].tolist()
    assert built.lookup(np.arange(8, dtype=np.int32)[::4][:1]).tolist() == [[0, 1, 2]]
    empty = EmbeddingTable.from_dense(np.zeros((0, 3), np.float32), missing="mean")
    assert len(empty) == 0
    assert empty.lookup([5]).tolist() == [[0, 0, 0]]


def test_one_table_many_threads():
    built = EmbeddingTable.from_dense(np.random.default_rng(0).standard_normal((2000, 16)).astype(np.float32))
    keys = np.random.default_rng(1).integers(0, 2000, 5000)
    expected, wrong = built.lookup(keys), []

    def read() -> None:
        for _ in range(30):
            if not np.array_equal(built.lookup(keys, threads=2), expected):
                wrong.append(1)

    threads = [threading.Thread(target=read) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong
    assert built.stats()["looked_up"] == 5000 * 121
