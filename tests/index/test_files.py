"""Saved and loaded indexes answer the same; a mapped one takes changes and leaves its file alone."""

from __future__ import annotations

import gc
from pathlib import Path

import numpy as np
import pytest
from brute_force import METRICS, recall_with_ties, same_index, sample

import semblance as sb

pytestmark = pytest.mark.once

D = 32
VARIANTS = [
    {"metric": metric, "kind": kind} for metric in METRICS for kind in ("hnsw", "flat")
] + [
    {"metric": "l2", "codes": codes, "rerank": rerank}
    for codes in ("f32", "f16", "bf16", "i8", "i4", "b1")
    for rerank in (None, "f32", "f16", "bf16", "i8")
    if codes != rerank and (codes, rerank) != ("b1", None)
]  # fmt: skip


@pytest.fixture(params=VARIANTS, ids=lambda v: "-".join(map(str, v.values())))
def index(request: pytest.FixtureRequest) -> sb.Index:
    made = sb.Index(D, **request.param, max_degree=12, ef_construction=50, seed=4)
    rows = sample(made.metric, 400, D)
    made.add(rows[:390], np.arange(390) * 5)
    made.upsert(rows[390:], np.arange(10) * 5)
    made.remove([50, 55, 100])
    made.ef = 91
    return made


@pytest.mark.parametrize("mmap", [False, True])
@pytest.mark.parametrize("verify", [False, True])
def test_round_trip(index: sb.Index, tmp_path: Path, mmap: bool, verify: bool) -> None:
    queries = sample(index.metric, 30, D, seed=1)
    index.save(tmp_path / "a.sb", {"made for": "tests", "": "empty key"})
    loaded = sb.Index.load(str(tmp_path / "a.sb"), mmap=mmap, verify=verify)
    for name in ("dim", "metric", "kind", "codes", "rerank", "ef", "metadata"):
        assert getattr(loaded, name) == getattr(index, name)
    assert repr(loaded) == repr(index)
    assert len(loaded) == len(index) == 387
    np.testing.assert_array_equal(loaded.get(index.ids()), index.get(index.ids()))
    assert same_index(loaded, index, queries)
    allowed = index.ids()[::7]
    for options in ({"exact": True}, {"allowed": allowed}, {"k": 387, "ef": 500}):
        a, b = loaded.search(queries, **options), index.search(queries, **options)
        np.testing.assert_array_equal(a.ids, b.ids)
        np.testing.assert_array_equal(a.distances, b.distances)
    assert loaded.check() == index.check()
    assert 50 not in loaded
    assert loaded.add(queries[:1])[0] == index.add(queries[:1])[0]


@pytest.mark.parametrize("mmap", [False, True])
def test_a_loaded_index_takes_changes_and_its_file_stays(index: sb.Index, tmp_path: Path, mmap: bool) -> None:
    rows = sample(index.metric, 200, D, seed=2)
    index.save(tmp_path / "a.sb")
    before = (tmp_path / "a.sb").read_bytes()
    loaded = sb.Index.load(tmp_path / "a.sb", mmap=mmap)
    for one in (index, loaded):
        assert one.remove([5, 10]) == 2
        one.upsert(rows[:50], np.arange(50) * 5)
        one.add(rows[50:], np.arange(150) + 5000)
        assert one.check().ok
    assert same_index(loaded, index, rows[:40])
    assert (loaded.search(rows[:40], 20).ids % 5 >= 0).all()
    for one in (index, loaded):
        one.compact()
    assert same_index(loaded, index, rows[:40])
    assert (tmp_path / "a.sb").read_bytes() == before


@pytest.mark.parametrize("first", ["remove", "add", "upsert", "compact", "save over", "remove missing"])
def test_the_first_change_of_a_mapped_index(index: sb.Index, tmp_path: Path, first: str) -> None:
    path = tmp_path / "a.sb"
    index.save(path)
    rows = sample(index.metric, 3, D, seed=3)
    loaded = sb.Index.load(path, mmap=True)
    changes = {
        "remove": lambda one: one.remove([15, 20]),
        "remove missing": lambda one: one.remove([7]),
        "add": lambda one: one.add(rows),
        "upsert": lambda one: one.upsert(rows, [15, 20, 4000]),
        "compact": lambda one: one.compact(),
        "save over": lambda one: one.save(path),
    }
    for one in (index, loaded):
        changes[first](one)
    assert same_index(loaded, index, rows)
    assert loaded.check().ok
    again = sb.Index.load(path)
    assert again.check().ok


def test_a_mapped_index_outlives_the_name_of_its_file(tmp_path: Path) -> None:
    rows = sample("l2", 500, D)
    index = sb.Index.build(rows, metric="l2")
    index.save(tmp_path / "a.sb")
    loaded = sb.Index.load(tmp_path / "a.sb", mmap=True)
    other = sb.Index.build(rows[::-1].copy(), metric="l2")
    other.save(tmp_path / "a.sb")
    assert same_index(loaded, index, rows[:20])
    (tmp_path / "a.sb").unlink()
    assert same_index(loaded, index, rows[:20])
    loaded.add(rows[:10])
    loaded.compact()
    gc.collect()
    assert loaded.check().ok


def test_frozen_views_do_not_dangle(tmp_path: Path) -> None:
    """Results and rows stay valid after the index that gave them is gone."""
    rows = sample("l2", 300, D)
    index = sb.Index.build(rows, metric="l2")
    index.save(tmp_path / "a.sb")
    loaded = sb.Index.load(tmp_path / "a.sb", mmap=True)
    got, ids = loaded.get(np.arange(300)), loaded.ids()
    allowed = loaded.allow([1, 2])
    del loaded, index
    gc.collect()
    np.testing.assert_array_equal(got, rows)
    np.testing.assert_array_equal(ids, np.arange(300))
    assert len(allowed) == 2


@pytest.mark.parametrize("kind", ["hnsw", "flat"])
@pytest.mark.parametrize("mmap", [False, True])
def test_empty_index(tmp_path: Path, kind: str, mmap: bool) -> None:
    sb.Index(D, kind=kind).save(tmp_path / "a.sb")
    loaded = sb.Index.load(tmp_path / "a.sb", mmap=mmap)
    rows = sample("cosine", 20, D)
    assert (loaded.search(rows, 3).ids == -1).all()
    assert loaded.add(rows).tolist() == list(range(20))
    assert (loaded.search(rows, 1).ids[:, 0] == np.arange(20)).all()
    emptied = sb.Index(D, kind=kind)
    emptied.add(rows)
    emptied.remove(np.arange(20))
    emptied.save(tmp_path / "b.sb")
    again = sb.Index.load(tmp_path / "b.sb", mmap=mmap)
    assert len(again) == 0
    assert (again.search(rows, 3).ids == -1).all()
    again.compact()
    assert again.check().ok


def test_metadata_is_kept_until_replaced(tmp_path: Path) -> None:
    index = sb.Index(D)
    assert index.metadata == {}
    index.save(tmp_path / "a.sb", {"a": "1", "ü": "\n"})
    loaded = sb.Index.load(tmp_path / "a.sb")
    assert loaded.metadata == {"a": "1", "ü": "\n"}
    loaded.save(tmp_path / "b.sb")
    assert sb.Index.load(tmp_path / "b.sb").metadata == loaded.metadata
    loaded.save(tmp_path / "c.sb", {})
    assert sb.Index.load(tmp_path / "c.sb").metadata == {}


def test_other_numpy_code_reads_the_rows(tmp_path: Path) -> None:
    """The file is an ordinary safetensors file with named, typed tensors."""
    safe = pytest.importorskip("safetensors.numpy")
    rows = sample("l2", 100, D)
    sb.Index.build(rows, metric="l2", codes="f16", rerank="f32").save(tmp_path / "a.sb")
    tensors = safe.load_file(tmp_path / "a.sb")
    np.testing.assert_array_equal(tensors["rerank"], rows)
    np.testing.assert_array_equal(tensors["codes"], rows.astype(np.float16))
    np.testing.assert_array_equal(tensors["ids"], np.arange(100))


def test_a_loaded_graph_goes_on_growing_as_well_as_before(tmp_path: Path) -> None:
    rows, queries = sample("cosine", 1500, D), sample("cosine", 40, D, seed=1)
    index = sb.Index.build(rows[:700])
    for part in range(4):
        index.save(tmp_path / "a.sb")
        index = sb.Index.load(tmp_path / "a.sb", mmap=part % 2 == 1)
        index.add(rows[700 + 200 * part : 900 + 200 * part])
    assert recall_with_ties(rows, queries, index.search(queries, 10, ef=100).ids, "cosine") >= 0.97
    assert index.check().reachable == 1500
