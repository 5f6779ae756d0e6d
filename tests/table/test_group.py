"""A group of tables gives what its tables give one by one."""

from __future__ import annotations

import gc
import threading
import weakref

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


def plain(rng, dims, dtypes, rows=50):
    return {
        f"t{i}": sb.EmbeddingTable.from_dense(rng.standard_normal((rows + i, dim)).astype(np.float32), dtype)
        for i, (dim, dtype) in enumerate(zip(dims, dtypes, strict=True))
    }


@pytest.mark.parametrize("batch", [0, 1, 2, 163, 1500])
def test_a_matrix_is_its_columns(batch):
    """Runs of one format and width, tables alone between them, more fields than one run holds, any of it."""
    rng = np.random.default_rng(batch)
    for dims, dtypes in [
        ([16] * 5, ["i8"] * 5),
        ([16, 16, 7, 33, 33, 33, 16], ["i8", "i4", "i8", "i8", "i8", "f32", "i8"]),
        ([4] * 300, ["fp8"] * 300),
    ]:
        tables = plain(rng, dims, dtypes)
        group, keys = sb.TableGroup(tables), rng.integers(0, 50, (batch, len(tables)))
        expected = [table.lookup(keys[:, i]) for i, table in enumerate(tables.values())]
        before = [table.stats()["looked_up"] for table in tables.values()]
        for threads in (1, 2):
            got = group.lookup(keys, threads=threads)
            np.testing.assert_array_equal(got, np.concatenate(expected, axis=1))
        after = [table.stats()["looked_up"] for table in tables.values()]
        assert [b - a for a, b in zip(before, after, strict=True)] == [2 * batch] * len(tables)


def test_a_matrix_with_a_table_that_is_not_plain():
    """Policies, padding, changes, keys of their own: a matrix goes by the same rules as columns."""
    rng = np.random.default_rng(3)
    weights = rng.standard_normal((50, 8)).astype(np.float32)
    special = {
        "zero": sb.EmbeddingTable.from_dense(weights, missing="zero"),
        "mean": sb.EmbeddingTable.from_dense(weights, missing="mean"),
        "padded": sb.EmbeddingTable.from_dense(weights, padding=-1, missing="zero"),
        "keyed": sb.EmbeddingTable.from_dense(weights, keys=np.arange(50) * 3, missing="zero"),
        "changed": sb.EmbeddingTable.from_dense(weights, missing="zero"),
    }
    with special["changed"].writer() as writer:
        writer.upsert([7], np.ones((1, 8), np.float32))
        writer.remove([8])
    for table in special.values():
        tables = {"first": sb.EmbeddingTable.from_dense(weights), "other": table}
        keys = np.stack([rng.integers(0, 50, 400), rng.integers(-2, 60, 400)], axis=1)
        unknown = table.stats()["unknown_keys"]
        got = sb.TableGroup(tables).lookup(keys)
        counted = table.stats()["unknown_keys"] - unknown
        columns = [table.lookup(keys[:, i]) for i, table in enumerate(tables.values())]
        np.testing.assert_array_equal(got, np.concatenate(columns, axis=1))
        assert table.stats()["unknown_keys"] - unknown == 2 * counted


@pytest.mark.parametrize("bad", [-1, 50, 2**40, -(2**63), 2**63 - 1])
@pytest.mark.parametrize("place", [(0, 0), (299, 2), (150, 1)])
def test_a_matrix_with_a_row_that_is_not_there(bad, place):
    group = sb.TableGroup(plain(np.random.default_rng(0), [4] * 3, ["i8"] * 3, rows=48))
    keys = np.zeros((300, 3), np.int64)
    keys[place] = bad
    out = np.full((300, 12), 7, np.float32)
    with pytest.raises(sb.ArgumentError, match=rf"row numbers from 0 to {48 + place[1]} exclusive, got {bad}"):
        group.lookup(keys, out)
    assert (out == 7).all()


def test_the_order_of_a_dict_does_not_matter():
    group = sb.TableGroup(plain(np.random.default_rng(0), [2] * 4, ["f32"] * 4))
    keys = {f"t{i}": np.array([i, i + 1]) for i in range(4)}
    expected = group.lookup(keys)
    for order in (["t3", "t2", "t1", "t0"], ["t0", "t2", "t1", "t3"], ["t1", "t0", "t3", "t2"]):
        np.testing.assert_array_equal(group.lookup({"".join(name): keys[name] for name in order}), expected)
    with pytest.raises(sb.ArgumentError, match="expected field 't3', got no entry"):
        group.lookup({"t0": [0], "t1": [0], "t2": [0], 3: [0]})


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
        ({"f": "c"}, r"fields\['f'\]: table: expected one of a, got 'c'"),
        ({"f": ("a", "median")}, r"fields\['f'\]: mode: expected one of sum, mean, max, got 'median'"),
        ({"f": ("a", np.zeros(0))}, "mode: expected one of"),
        ({"f": (np.zeros(2), "sum")}, "table: expected one of"),
        ({"f": ("a", "sum", 1)}, r"fields\['f'\]: expected a table name, or one and a mode"),
        ({"f": 3}, r"fields\['f'\]: expected a table name, or one and a mode, got 3"),
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


def test_two_tables_publish_at_once():
    """Whoever publishes last, a group's next call sees both."""
    tables = [sb.EmbeddingTable.from_dense(np.zeros((4, 1), np.float32), "f32", missing="zero") for _ in range(2)]
    groups = [sb.TableGroup({"a": tables[0], "b": tables[1]}) for _ in range(3)]
    wrong = []

    def work(table: sb.EmbeddingTable, column: int) -> None:
        for stamp in range(1, 60):
            with table.writer() as writer:
                writer.upsert([1], np.full((1, 1), stamp, np.float32))
            wrong.extend(g for g in groups if g.lookup(np.array([[1, 1]]))[0, column] != stamp)

    threads = [threading.Thread(target=work, args=pair) for pair in zip(tables, range(2), strict=True)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong
    assert groups[0].lookup(np.array([[1, 1]])).tolist() == [[59, 59]]


def test_a_group_keeps_no_generation_that_readers_no_longer_get():
    weights = np.zeros((10, 4), np.float32)
    table = sb.EmbeddingTable.from_dense(weights, "f32", keys=np.arange(10))
    group = sb.TableGroup({"a": table})
    group.lookup({"a": [1]})
    old = weakref.ref(table._generation.rows)
    with table.writer() as writer:
        writer.upsert([1], weights[:1])
    table.compact()
    gc.collect()
    assert old() is None
    with table.writer() as writer:  # a group that is gone is not told
        del group
        writer.upsert([2], weights[:1])
    assert sb.TableGroup({"a": table}).lookup({"a": [2]}).tolist() == [[0, 0, 0, 0]]
