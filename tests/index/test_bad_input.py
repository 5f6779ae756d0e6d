"""Bad input: an ArgumentError that names the argument, what was expected and what came; the index is as it was."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from brute_force import FLOAT_METRICS, METRICS, sample

import semblance as sb

pytestmark = pytest.mark.once

D = 16
NAN, INF = float("nan"), float("inf")


class Unchanged:
    """An index and its saved bytes: `verify` compares with what it holds now."""

    def __init__(self, index: sb.Index, folder: Path) -> None:
        self.index, self.folder = index, folder
        self.before, self.ef = self.saved("before"), index.ef

    def saved(self, name: str) -> bytes:
        self.index.save(self.folder / name)
        return (self.folder / name).read_bytes()

    def verify(self) -> None:
        assert self.saved("after") == self.before
        assert self.index.ef == self.ef
        assert self.index.check().ok


@pytest.fixture(params=[("cosine", "hnsw"), ("l2", "flat"), ("jaccard", "hnsw")], ids="-".join)
def held(request: pytest.FixtureRequest, tmp_path: Path) -> Unchanged:
    metric, kind = request.param
    index = sb.Index(D, metric=metric, kind=kind)
    index.add(sample(metric, 60, D), np.arange(60) * 2)
    index.remove([4, 8])
    return Unchanged(index, tmp_path)


def refuse(call: Callable[[], object], argument: str) -> str:
    """Return the message, which has the form that every error has."""
    with pytest.raises(sb.ArgumentError) as caught:
        call()
    message = str(caught.value)
    assert message.startswith(argument), message
    assert ": expected " in message, message
    assert ", got " in message, message
    assert "\n" not in message
    return message


def bad_arrays(metric: str) -> dict[str, Any]:
    good = sample(metric, 3, D)
    wide = np.concatenate([good, good], axis=1)
    shapes = {"wide": wide, "one dimension": good[0], "three dimensions": good[None], "no columns": good[:, :0],
              "scalar": np.float32(1), "one column less": good[:, 1:]}  # fmt: skip
    kinds = {
        "object": good.astype(object), "string": good.astype(str), "int64": good.astype(np.int64),
        "int32": good.astype(np.int32), "bool": good > 0, "complex": good.astype(np.complex64),
        "datetime": good.astype(np.int64).astype("datetime64[s]"),
        "records": np.zeros((3, D), [("a", "f4")]),
        "other": good.astype(np.float32) if good.dtype == np.uint8 else np.packbits(good > 0, axis=1),
        "None": None, "text": "abc", "bytes": b"abc", "ragged": [[1.0, 2.0], [1.0]], "mixed": [["a", 1.0]],
        "dict": {"a": 1}, "set": {1.0, 2.0}, "iterator": iter([1.0]), "class": object(),
    }  # fmt: skip
    return {**shapes, **kinds}


def calls_with_rows(index: sb.Index, array: Any) -> list[tuple[Callable[[], object], str]]:
    return [
        (lambda: index.add(array), "vectors"),
        (lambda: index.add(array, [100, 101, 102]), "vectors"),
        (lambda: index.upsert(array, [0, 2, 6]), "vectors"),
        (lambda: index.search(array), "queries"),
        (lambda: index.search(array, exact=True), "queries"),
        (lambda: index.within(array, 1.0), "queries"),
        (lambda: index.tune(array), "queries"),
        (lambda: sb.exact(array, sample(index.metric, 2, D), 3, index.metric), "vectors"),
        (lambda: sb.exact(sample(index.metric, 2, D), array, 3, index.metric), "queries"),
    ]


@pytest.mark.parametrize("name", bad_arrays("l2"))
def test_wrong_arrays(held: Unchanged, name: str) -> None:
    array = bad_arrays(held.index.metric)[name]
    calls = calls_with_rows(held.index, array)
    if name in ("wide", "one column less"):  # right in themselves: only the other side can say
        del calls[-2]
    for call, argument in calls:
        message = refuse(call, argument)
        if isinstance(array, np.ndarray):
            assert str(array.dtype) in message
            assert str(array.shape) in message
    held.verify()


@pytest.mark.parametrize("metric", FLOAT_METRICS)
@pytest.mark.parametrize("value", [NAN, INF, -INF, 1e20, -3e38])
@pytest.mark.parametrize("place", [(0, 0), (2, 15), (1, 7)])
def test_values_that_are_no_vectors(tmp_path: Path, metric: str, value: float, place: tuple[int, int]) -> None:
    index = sb.Index(D, metric=metric)
    index.add(sample(metric, 60, D), np.arange(60) * 2)
    held = Unchanged(index, tmp_path)
    rows = sample(metric, 3, D)
    rows[place] = value
    for call, argument in calls_with_rows(index, rows):
        message = refuse(call, f"{argument}[{place[0]}]")
        if not np.isfinite(value):
            assert f"{value} at position {place[1]}" in message
    held.verify()


@pytest.mark.parametrize("rows", [np.full((2, D), 1e300), np.full((2, D), 1e39), np.full((2, D), np.float16("inf"))])
def test_numbers_beyond_float32(rows: np.ndarray) -> None:
    index = sb.Index(D, metric="l2")
    for call, argument in calls_with_rows(index, rows)[:1] + calls_with_rows(index, rows)[3:5]:
        assert "inf" in refuse(call, argument)


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_zero_vectors_under_cosine(tmp_path: Path, dtype: type) -> None:
    index = sb.Index(D)
    index.add(sample("cosine", 60, D), np.arange(60) * 2)
    held = Unchanged(index, tmp_path)
    rows = sample("cosine", 3, D).astype(dtype)
    rows[1] = 0
    for call, argument in calls_with_rows(index, rows):
        assert "zero" in refuse(call, f"{argument}[1]")
    rows[1] = -0.0
    refuse(lambda: index.add(rows), "vectors[1]")
    refuse(lambda: index.diverse(rows[1]), "quer")
    held.verify()


BAD_IDS = {
    "negative": ([0, 1, -1], "-1"), "twice": ([101, 103, 101], "101"), "few": ([101], "(1,)"),
    "many": (range(4), "(4,)"),
    "floats": ([1.0, 2.0, 3.0], "float64"), "strings": (["a", "b", "c"], "<U1"), "objects": ([1, None, 2], "object"),
    "bools": ([True, False, True], "bool"), "matrix": ([[101, 103, 105]], "(1, 3)"), "huge": ([1, 2, 2**63], ""),
    "larger": ([1, 2, 2**70], "object"), "uint64": (np.array([1, 2, 2**63 + 5], np.uint64), ""), "number": (7, "()"),
    "smallest": ([1, 3, -(2**63)], str(-(2**63))),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD_IDS)
def test_wrong_ids(held: Unchanged, name: str) -> None:
    index, (ids, got) = held.index, BAD_IDS[name]
    rows = sample(index.metric, 3, D)
    assert got in refuse(lambda: index.add(rows, ids), "ids")
    assert got in refuse(lambda: index.upsert(rows, ids), "ids")
    if name not in ("negative", "twice", "few", "many", "smallest"):
        assert got in refuse(lambda: index.remove(ids), "ids")
        assert got in refuse(lambda: index.get(ids), "ids")
        if name != "bools":
            refuse(lambda: index.allow(ids), "allowed")
            refuse(lambda: index.search(rows, allowed=ids), "allowed")
    held.verify()


def test_ids_that_exist(held: Unchanged) -> None:
    rows = sample(held.index.metric, 3, D)
    assert "got 2" in refuse(lambda: held.index.add(rows, [101, 2, 103]), "ids")
    refuse(lambda: held.index.upsert(rows, None), "ids")
    refuse(lambda: held.index.remove([0, 1], missing="error"), "ids")
    refuse(lambda: held.index.remove([0], missing="maybe"), "missing")
    with pytest.raises(sb.NotFoundError, match=r"ids: expected .*, got 4"):
        held.index.get([0, 4])
    held.verify()


def test_consecutive_ids_that_are_used_up(tmp_path: Path) -> None:
    index = sb.Index(D, metric="l2")
    index.add(sample("l2", 1, D), [2**63 - 1])
    held = Unchanged(index, tmp_path)
    refuse(lambda: index.add(sample("l2", 2, D)), "ids")
    refuse(lambda: index.add(sample("l2", 1, D)), "ids")
    held.verify()


BAD_NUMBERS: list[Any] = [0, -1, 2**20 + 1, 2**64, 2**200, 1.0, 2.5, "3", None, True, NAN, INF, [1], np.float32(3)]


@pytest.mark.parametrize("value", BAD_NUMBERS, ids=repr)
def test_wrong_k(held: Unchanged, value: Any) -> None:
    index, rows = held.index, sample(held.index.metric, 2, D)
    refuse(lambda: index.search(rows, value), "k")
    refuse(lambda: index.search(rows, k=value, exact=True), "k")
    refuse(lambda: index.diverse(rows[0], k=value), "k")
    refuse(lambda: index.diverse(rows[0], k=1, pool=value), "pool")
    refuse(lambda: index.tune(rows, k=value), "k")
    refuse(lambda: sb.exact(rows, rows, value, index.metric), "k")
    held.verify()


@pytest.mark.parametrize("value", [v for v in BAD_NUMBERS if v is not None] + [9], ids=repr)
def test_wrong_ef(held: Unchanged, value: Any) -> None:
    index, rows = held.index, sample(held.index.metric, 2, D)
    refuse(lambda: index.search(rows, k=10, ef=value), "ef")
    if value != 9:
        refuse(lambda: index.within(rows, 1.0, ef=value), "ef")
        with pytest.raises(sb.ArgumentError, match="ef: expected"):
            index.ef = value
    held.verify()


@pytest.mark.parametrize("value", [-1, 1025, 2**70, 1.5, 0.0, "2", None, [], False, True], ids=repr)
def test_wrong_threads(held: Unchanged, value: Any) -> None:
    index, rows = held.index, sample(held.index.metric, 2, D)
    refuse(lambda: index.add(rows, threads=value), "threads")
    refuse(lambda: index.upsert(rows, [0, 2], threads=value), "threads")
    refuse(lambda: index.search(rows, threads=value), "threads")
    refuse(lambda: index.within(rows, 1.0, threads=value), "threads")
    refuse(lambda: index.compact(threads=value), "threads")
    refuse(lambda: index.tune(rows, threads=value), "threads")
    refuse(lambda: sb.exact(rows, rows, 1, index.metric, threads=value), "threads")
    held.verify()


@pytest.mark.parametrize("value", ["yes", 5, 1.0, [], object()], ids=repr)
def test_wrong_progress(held: Unchanged, value: Any) -> None:
    index, rows = held.index, sample(held.index.metric, 2, D)
    refuse(lambda: index.add(rows, progress=value), "progress")
    refuse(lambda: index.compact(progress=value), "progress")
    held.verify()


@pytest.mark.parametrize("value", [NAN, INF, -INF, "x", None, [1.0], np.ones(2), 1j, 10**400], ids=lambda v: str(v)[:9])
def test_wrong_radius(held: Unchanged, value: Any) -> None:
    refuse(lambda: held.index.within(sample(held.index.metric, 2, D), value), "radius")


@pytest.mark.parametrize(
    "value", [np.ones(59, bool), np.ones((58, 1), bool), "abc", 5, [0.5], [[1]] * 3, {1: 2}, object()]
)
def test_wrong_filters(held: Unchanged, value: Any) -> None:
    rows = sample(held.index.metric, 2, D)
    refuse(lambda: held.index.search(rows, allowed=value), "allowed")
    refuse(lambda: held.index.within(rows, 1.0, allowed=value), "allowed")
    refuse(lambda: held.index.diverse(rows[0], allowed=value), "allowed")
    refuse(lambda: held.index.allow(value), "allowed")


@pytest.mark.parametrize(
    ("arguments", "name"),
    [({"d": d}, "d") for d in (0, -1, 65537, 2**63, 8.0, "8", None, True)]
    + [({"metric": m}, "metric") for m in ("L2", "", None, 5, "euclidean", ["l2"])]
    + [({"kind": m}, "kind") for m in ("HNSW", "", None, 5, ["flat"])]
    + [({"codes": m}, "codes") for m in ("f64", "", None, 5, ["f32"])]
    + [({"rerank": m}, "rerank") for m in ("f64", "", 5, "b1", ["f32"], False)]
    + [({"codes": "b1", "rerank": None}, "rerank"), ({"codes": "b1", "kind": "flat"}, "codes")]
    + [({"metric": "hamming", "codes": "f32"}, "codes"), ({"metric": "jaccard", "rerank": "f32"}, "rerank")]
    + [({"metric": "hamming", "d": d}, "d") for d in (1, 7, 9, 65535)]
    + [({"max_degree": m}, "max_degree") for m in (3, 0, -1, 257, 10**9, 2.0, None)]
    + [({"ef_construction": m}, "ef_construction") for m in (31, 0, -5, 2**20 + 1, 10**12, 1.5, None)]
    + [({"seed": m}, "seed") for m in (-1, 2**63, 0.5, "1", None)],
)
def test_wrong_parameters(arguments: dict[str, Any], name: str) -> None:
    refuse(lambda: sb.Index(**{"d": D, **arguments}), name)
    if name != "d":
        rows = sample(arguments.get("metric") if arguments.get("metric") in METRICS else "l2", 5, D)
        refuse(lambda: sb.Index.build(rows, **arguments), name)


def test_wrong_names_are_type_errors_of_the_language() -> None:
    with pytest.raises(TypeError):
        sb.Index(D, degree=3)  # type: ignore[call-arg]
    with pytest.raises(TypeError):
        sb.Index.build(sample("l2", 2, D), ef=3)


@pytest.mark.parametrize("metric", ["L2", None, 5, ["l2"]])
def test_wrong_metric_of_exact(metric: Any) -> None:
    refuse(lambda: sb.exact(np.ones((2, 2), "f4"), np.ones((1, 2), "f4"), 1, metric), "metric")


def test_wide_rows_in_exact_and_build() -> None:
    wide = np.ones((1, 65537), np.float32)
    refuse(lambda: sb.exact(wide, wide, 1), "vectors")
    refuse(lambda: sb.Index.build(wide), "d")
    refuse(lambda: sb.Index.build(wide[:, :0]), "d")
    refuse(lambda: sb.Index.build(wide[0]), "vectors")
    refuse(lambda: sb.Index.build("abc"), "vectors")
    most = wide[:, :-1]
    assert sb.Index.build(most, kind="flat").search(most, 1).ids.tolist() == [[0]]


def test_the_limits_themselves_are_accepted() -> None:
    index = sb.Index.build(sample("l2", 30, D), metric="l2", max_degree=256, ef_construction=256, seed=2**63 - 1)
    hits = index.search(sample("l2", 1, D), k=2**20)
    assert hits.ids.shape == (1, 2**20)
    assert (hits.ids >= 0).sum() == 30
    assert (index.search(sample("l2", 1, D), k=5, ef=2**20).ids >= 0).all()
    assert index.search(sample("l2", 1, D), k=np.int32(3)).ids.shape == (1, 3)  # type: ignore[arg-type]
    index.ef = np.int64(77)  # type: ignore[assignment]
    assert index.ef == 77


def test_paths_that_cannot_be_written(held: Unchanged, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    for path in (tmp_path / "missing" / "a.sb", tmp_path / "file" / "a.sb", tmp_path, "/proc/self/a.sb"):
        refuse(lambda path=path: held.index.save(path), "path")
    assert {p.name for p in tmp_path.iterdir()} == {"before", "file"}
    for metadata in ({"a": 5}, {5: "a"}):
        refuse(lambda metadata=metadata: held.index.save(tmp_path / "a.sb", metadata), "metadata")
    assert not (tmp_path / "a.sb").exists()
    held.verify()


@pytest.mark.parametrize("threads", [1, 4])
def test_the_first_of_many_bad_rows_is_named(threads: int) -> None:
    vectors = np.ones((9000, 4), np.float32)
    vectors[1500:] = NAN
    index = sb.Index(4, "l2", codes="f32")
    for _ in range(5):
        with pytest.raises(sb.ArgumentError, match=r"vectors\[1500\]: expected finite values"):
            index.add(vectors, threads=threads)
    with pytest.raises(sb.ArgumentError, match=r"queries\[1500\]: expected finite values"):
        index.search(vectors, threads=threads)
