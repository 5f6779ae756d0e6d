"""A group of tables gives what its tables give one by one."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import semblance as sb

FORMATS = ("f32", "f16", "bf16", "i8", "i4", "i2", "fp8")


def random_tables(rng: np.random.Generator) -> dict[str, sb.EmbeddingTable]:
    tables = {}
    for i in range(rng.integers(1, 12)):
        rows, dim = int(rng.integers(1, 200)), int(rng.integers(1, 70))
        keys = None if rng.random() < 0.5 else rng.choice(10_000, rows, replace=False)
        weights = rng.standard_normal((rows, dim)).astype(np.float32)
        tables[f"t{i}"] = sb.EmbeddingTable.from_dense(weights, str(rng.choice(FORMATS)), keys=keys, missing="zero")
    return tables


@settings(max_examples=60, deadline=None, derandomize=True)
@given(st.integers(0, 2**32), st.sampled_from([0, 1, 2, 17, 400]))
def test_group_is_its_tables(seed, batch):
    rng = np.random.default_rng(seed)
    tables, fields, inputs, expected = random_tables(rng), {}, {}, []
    for i in range(rng.integers(1, 15)):
        name, mode = str(rng.choice(list(tables))), str(rng.choice(["sum", "mean", "max"]))
        fields[f"f{i}"] = (name, mode)
        if rng.random() < 0.5:
            inputs[f"f{i}"] = rng.integers(-5, 300, batch)
            expected.append(tables[name].lookup(inputs[f"f{i}"]))
            continue
        offsets = np.concatenate([[0], np.cumsum(rng.integers(0, 9, batch))]).astype(np.int64)
        values = rng.integers(-5, 300, offsets[-1])
        weights = None if mode == "max" or rng.random() < 0.5 else rng.standard_normal(offsets[-1]).astype(np.float32)
        inputs[f"f{i}"] = (values, offsets) if weights is None else (values, offsets, weights)
        expected.append(tables[name].pool(values, offsets, weights, mode))
    group = sb.TableGroup(tables, fields)
    for threads in (1, 2):
        got = group.lookup(inputs, threads=threads)
        np.testing.assert_array_equal(got, np.concatenate(expected, axis=1))
    assert got.shape == (batch, group.dim)


def two() -> tuple[sb.EmbeddingTable, sb.EmbeddingTable, sb.TableGroup]:
    a = sb.EmbeddingTable.from_dense(np.arange(6, dtype=np.float32).reshape(3, 2), "f32")
    b = sb.EmbeddingTable.from_dense(np.arange(3, dtype=np.float32)[:, None], "f32", keys=["x", "y", "z"])
    return a, b, sb.TableGroup({"a": a, "b": b})


def test_matrix_of_keys_and_out():
    rng = np.random.default_rng(0)
    tables = {
        f"t{i}": sb.EmbeddingTable.from_dense(rng.standard_normal((50, 16)).astype(np.float32)) for i in range(26)
    }
    group, keys = sb.TableGroup(tables), rng.integers(0, 50, (300, 26))
    expected = np.concatenate([table.lookup(keys[:, i]) for i, table in enumerate(tables.values())], axis=1)
    out = np.empty((300, 416), np.float32)
    assert group.lookup(keys, out) is out
    np.testing.assert_array_equal(out, expected)
    np.testing.assert_array_equal(group.lookup({name: keys[:, i] for i, name in enumerate(tables)}), expected)
    assert group.nbytes == 26 * 50 * 20


def test_strings_and_plain_lists():
    _, _, group = two()
    assert group.lookup({"a": [2, 0], "b": ["z", "x"]}).tolist() == [[4, 5, 2], [0, 1, 0]]
    assert group.lookup({"a": ([2, 0], [0, 2]), "b": (["z", "y"], [0, 2], [1.0, 2.0])}).tolist() == [[4, 6, 4]]


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        ({"a": [0]}, "an entry for each of 2 fields, got 1"),
        ({"a": [0], "c": [0]}, "expected field 'b', got no entry"),
        ({"a": [0, 1], "b": ["x"]}, "expected 2 examples, as in the first field, got 1"),
        ({"a": [3], "b": ["x"]}, "row numbers from 0 to 3 exclusive, got 3"),
        ({"a": [0], "b": [1]}, r"inputs\['b'\]: expected strings"),
        ({"a": [[0]], "b": ["x"]}, r"inputs\['a'\]: expected keys of shape \(batch,\)"),
        ({"a": ([0], [0, 2]), "b": ["x"]}, "offsets: expected an end at 1"),
        ({"a": ([0],), "b": ["x"]}, r"inputs\['a'\]: expected \(values, offsets\)"),
        ({"a": ([0], [0, 1], [np.nan]), "b": ["x"]}, "weights: expected finite"),
        (np.zeros((2, 2), np.int64), "field 'b': expected strings"),
        (np.zeros((2, 3), np.int64), r"inputs: expected contiguous int64 of shape \(n, 2\)"),
        ([0, 1], "inputs: expected a dict of fields"),
    ],
)
def test_refused_inputs(inputs, message):
    _, _, group = two()
    with pytest.raises(sb.ArgumentError, match=message):
        group.lookup(inputs)


def test_refused_groups_and_outputs():
    a, _, group = two()
    for fields, message in [
        ({}, "at least one field"),
        ({"f": "c"}, "expected a table name for 'f'"),
        ({"f": ("a", "median")}, "expected a mode"),
    ]:
        with pytest.raises(sb.ArgumentError, match=message):
            sb.TableGroup({"a": a}, fields)
    with pytest.raises(sb.ArgumentError, match="tables: expected an EmbeddingTable for 'b', got NoneType"):
        sb.TableGroup({"a": a, "b": None})
    for out in (np.zeros((1, 4), np.float32), np.zeros((1, 3)), [0.0]):
        with pytest.raises(sb.ArgumentError, match="out: expected"):
            group.lookup({"a": [0], "b": ["x"]}, out)
    with pytest.raises(sb.NotFoundError, match="keys of the table"):
        group.lookup({"a": [0], "b": ["w"]})


def test_group_sees_what_its_tables_publish():
    a, b, group = two()
    with a.writer() as writer:
        writer.upsert([1], np.full((1, 2), 9, np.float32))
    with b.writer() as writer:
        writer.upsert(["new"], np.full((1, 1), 7, np.float32))
    assert group.lookup({"a": [1, 2], "b": ["new", "y"]}).tolist() == [[9, 9, 7], [4, 5, 1]]
