"""Writers, generations, rollback, compaction, replacement; readers beside a writer."""

from __future__ import annotations

import threading
from concurrent.futures import Future

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import semblance as sb

CHANGES = st.lists(
    st.lists(st.tuples(st.booleans(), st.lists(st.integers(0, 25), max_size=6)), max_size=4), min_size=1, max_size=6
)


def rows_for(keys: list[int], stamp: int) -> np.ndarray:
    return np.array([[key, stamp] for key in keys], np.float32).reshape(-1, 2)


@settings(max_examples=80, deadline=None, derandomize=True)
@given(CHANGES, st.booleans(), st.integers(0, 3))
def test_a_table_is_a_dict(rounds, keyed, compact_every):
    """Any sequence of blocks leaves the table as the same changes leave a dict."""
    own = list(range(20))
    truth = {key: [key, 0] for key in own}
    table = sb.EmbeddingTable.from_dense(rows_for(own, 0), "f32", keys=own if keyed else None, missing="zero")
    for stamp, block in enumerate(rounds, 1):
        with table.writer() as writer:
            for live, keys in block:
                wanted = keys if keyed else [key for key in keys if key < 20]
                if live:
                    writer.upsert(wanted, rows_for(wanted, stamp))
                    truth |= {key: [key, stamp] for key in wanted}
                else:
                    writer.remove(wanted)
                    for key in wanted:
                        truth.pop(key, None)
        if compact_every and stamp % compact_every == 0:
            table.compact()
        everything = np.arange(-1, 27)
        assert table.lookup(everything).tolist() == [truth.get(int(key), [0, 0]) for key in everything]
        assert len(table) == len(truth)
        again = sb.EmbeddingTable._from_tensors(*table._tensors())
        np.testing.assert_array_equal(again.lookup(everything), table.lookup(everything))
        assert len(again) == len(truth)


def table() -> sb.EmbeddingTable:
    return sb.EmbeddingTable.from_dense(rows_for(list(range(4)), 0), "f32", keys=["a", "b", "c", "d"], missing="zero")


def test_a_block_that_raises_changes_nothing():
    built = table()

    def fail() -> None:
        with built.writer() as writer:
            writer.upsert(["a"], rows_for([9], 9))
            raise RuntimeError("stop")

    with pytest.raises(RuntimeError, match="stop"):
        fail()
    assert built.generation == 0
    assert built.lookup("a").tolist() == [0, 0]
    with built.writer():
        pass
    assert built.generation == 0


def test_a_change_inside_a_change_is_refused():
    built = table()
    with built.writer() as writer:
        for change in (built.writer().__enter__, built.compact, built.rollback):
            with pytest.raises(sb.ArgumentError, match="one change of a table at a time"):
                change()
        writer.upsert(["a"], rows_for([1], 1))
    assert built.lookup("a").tolist() == [1, 1]


def test_rollback():
    built = table()
    with pytest.raises(sb.NotFoundError, match="expected a previous generation"):
        built.rollback()
    for stamp in (1, 2):
        with built.writer() as writer:
            writer.upsert(["a", "new"], rows_for([0, 9], stamp))
    built.rollback()
    assert built.lookup(["a", "new"]).tolist() == [[0, 1], [9, 1]]
    assert built.generation == 3
    assert built.stats()["generation_age_s"] < 60
    with pytest.raises(sb.NotFoundError):
        built.rollback()


def test_refused_changes():
    built, outside = table(), table().writer()
    with pytest.raises(sb.ArgumentError, match="inside its with block"):
        outside.upsert(["a"], rows_for([1], 1))
    with built.writer() as writer:
        for keys, rows, message in [
            (["a"], np.zeros((2, 2), np.float32), "rows: expected float32 of shape"),
            (["a"], np.full((1, 2), np.nan, np.float32), "weights: expected finite"),
            (["a"], np.zeros((1, 2)), "rows: expected float32"),
            ([["a"]], np.zeros((1, 2), np.float32), r"keys: expected shape \(n,\)"),
            ([1], np.zeros((1, 2), np.float32), "keys: expected strings"),
        ]:
            with pytest.raises(sb.ArgumentError, match=message):
                writer.upsert(keys, rows)
    assert built.generation == 0
    dense = sb.EmbeddingTable.from_dense(rows_for([0, 1], 0))
    with dense.writer() as writer, pytest.raises(sb.ArgumentError, match="row numbers from 0 to 2 exclusive"):
        writer.upsert([2], rows_for([2], 0))


def test_replace_with_a_mapped_file(tmp_path):
    built, other = table(), table()
    with other.writer() as writer:
        writer.upsert(["a"], rows_for([5], 5))
    other.compact()
    other.save(tmp_path / "t.sb")
    built.replace(sb.EmbeddingTable.load(tmp_path / "t.sb", mmap=True))
    assert built.lookup("a").tolist() == [5, 5]
    built.rollback()
    assert built.lookup("a").tolist() == [0, 0]
    with pytest.raises(sb.ArgumentError, match="other: expected a table of the layout"):
        built.replace(sb.EmbeddingTable.from_dense(np.ones((1, 2), np.float32)))


def test_readers_see_whole_generations():
    """Every publication sets all rows to one stamp; a reader that saw two in one call would have a mixed result."""
    own = list(range(300))
    built = sb.EmbeddingTable.from_dense(rows_for(own, 0), "f32", keys=own)
    group = sb.TableGroup({"t": built})
    keys, mixed, done = np.array(own * 4), [], threading.Event()

    def read(call) -> None:
        while not done.is_set():
            stamps = call()[:, 1]
            if stamps.min() != stamps.max():
                mixed.append(stamps)

    readers = [
        threading.Thread(target=read, args=[call])
        for call in (lambda: built.lookup(keys), lambda: group.lookup({"t": keys}))
    ]
    for reader in readers:
        reader.start()
    for stamp in range(1, 60):
        with built.writer() as writer:
            writer.upsert(own, rows_for(own, stamp))
        if stamp % 20 == 0:
            built.compact()
    done.set()
    for reader in readers:
        reader.join()
    assert not mixed
    assert built.lookup(5).tolist() == [5, 59]


@settings(max_examples=60, deadline=None, derandomize=True)
@given(CHANGES, CHANGES, st.booleans())
def test_a_compaction_in_the_background_changes_nothing(before, meanwhile, keyed):
    """Blocks written while rows are folded stay on top of them, whatever they undo or repeat."""
    own, everything = list(range(20)), np.arange(-1, 27)
    built, twin = (
        sb.EmbeddingTable.from_dense(rows_for(own, 0), "f32", keys=own if keyed else None, missing="zero")
        for _ in range(2)
    )

    def write(table: sb.EmbeddingTable, rounds: list[list[tuple[bool, list[int]]]]) -> None:
        for block in rounds:
            with table.writer() as writer:
                for live, keys in block:
                    wanted = keys if keyed else [key for key in keys if key < 20]
                    if live:
                        writer.upsert(wanted, rows_for(wanted, len(keys)))
                    else:
                        writer.remove(wanted)

    write(twin, before + meanwhile)
    write(built, before)
    began, bases = built._generation, built._bases
    write(built, meanwhile)
    done: Future[bool] = Future()
    built._compact_aside(began, bases, done)  # as the thread does, which began before
    assert done.result()
    np.testing.assert_array_equal(built.lookup(everything), twin.lookup(everything))
    assert len(built) == len(twin)
    built.compact()
    np.testing.assert_array_equal(built.lookup(everything), twin.lookup(everything))


def test_what_a_compaction_in_the_background_leaves():
    built = table()
    with built.writer() as writer:
        writer.upsert(["a", "new"], rows_for([1, 2], 1))
        writer.remove(["b"])
    assert built.compact_in_background().result()
    assert built.stats()["delta_nbytes"] == 0
    assert built.lookup(["a", "b", "new"]).tolist() == [[1, 1], [0, 0], [2, 1]]
    with pytest.raises(sb.NotFoundError, match="previous generation"):
        built.rollback()


@pytest.mark.parametrize("act", ["replace", "rollback", "compact"])
def test_a_compaction_that_came_too_late_publishes_nothing(act):
    built, done = table(), Future()
    for stamp in (1, 2):
        with built.writer() as writer:
            writer.upsert(["a"], rows_for([1], stamp))
    began, bases = built._generation, built._bases
    if act == "replace":
        built.replace(table())
    else:
        getattr(built, act)()
    expected, number = built.lookup(["a", "b"]).tolist(), built.generation
    built._compact_aside(began, bases, done)
    assert done.result() is False
    assert (built.lookup(["a", "b"]).tolist(), built.generation) == (expected, number)


def test_a_compaction_that_fails_says_so(monkeypatch):
    built = table()
    with built.writer() as writer:
        writer.upsert(["a"], rows_for([1], 1))
    monkeypatch.setattr("semblance.tables.publishing.compacted", lambda base: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        built.compact_in_background().result()
    monkeypatch.undo()
    assert built.compact_in_background().result()  # nothing is held
