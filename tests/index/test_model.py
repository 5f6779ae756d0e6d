"""Any sequence of changes, saves and searches against a dictionary of vectors."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest
from brute_force import distances
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, initialize, invariant, precondition, rule

import semblance as sb

D = 8
POOL = 64  # vectors that the rules draw from: few, so that equal rows under several ids are common
PRECISION = {"cosine": 2e-3, "ip": 2e-2, "l2": 5e-2, "hamming": 0.0, "jaccard": 1e-6}
FINE = {"f32": 1e-5, "f16": 2e-2, "i8": 2e-1, "b1": 1e-6}
IDS = st.integers(0, 60) | st.sampled_from([2**40, 2**62, 2**63 - 2])
SETTINGS = settings(
    max_examples=25,
    stateful_step_count=25,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)


def pool_of(metric: str) -> np.ndarray:
    rng = np.random.default_rng(12)
    if metric in ("hamming", "jaccard"):
        return rng.integers(0, 256, size=(POOL, D), dtype=np.uint8)
    return rng.normal(size=(POOL, D)).astype(np.float32)


class IndexMachine(RuleBasedStateMachine):
    """Rules shared by every kind, metric and codes; a subclass names them."""

    options: ClassVar[dict[str, object]] = {}
    metric = "l2"
    filters = Bundle("filters")

    @initialize()
    def start(self) -> None:
        self.pool = pool_of(self.metric)
        self.index = sb.Index(D * 8 if self.pool.dtype == np.uint8 else D, metric=self.metric, **self.options)
        self.content: dict[int, int] = {}
        self.folder = tempfile.TemporaryDirectory()
        self.saves = 0
        self.next_id = 0
        self.tolerance = FINE[self.index.rerank or self.index.codes]

    def teardown(self) -> None:
        if hasattr(self, "folder"):
            self.folder.cleanup()

    def put(self, ids: list[int], picks: list[int]) -> None:
        self.content.update(zip(ids, picks, strict=True))
        self.next_id = max([self.next_id, *(min(i + 1, 2**63 - 1) for i in ids)])

    @rule(picks=st.lists(st.integers(0, POOL - 1), max_size=30))
    def add_consecutive(self, picks: list[int]) -> None:
        if self.next_id + len(picks) > 2**63 - 1:
            return
        given = self.index.add(self.pool[picks].reshape(len(picks), D)).tolist()
        assert given == list(range(self.next_id, self.next_id + len(picks)))
        self.put(given, picks)

    @rule(ids=st.lists(IDS, max_size=12, unique=True), data=st.data())
    def add(self, ids: list[int], data: st.DataObject) -> None:
        picks = data.draw(st.lists(st.integers(0, POOL - 1), min_size=len(ids), max_size=len(ids)))
        rows = self.pool[picks].reshape(len(ids), D)
        if self.content.keys() & set(ids):
            with pytest.raises(sb.ArgumentError, match="ids: expected"):
                self.index.add(rows, ids)
            return
        assert self.index.add(rows, ids).tolist() == ids
        self.put(ids, picks)

    @rule(ids=st.lists(IDS, max_size=12, unique=True), data=st.data())
    def upsert(self, ids: list[int], data: st.DataObject) -> None:
        picks = data.draw(st.lists(st.integers(0, POOL - 1), min_size=len(ids), max_size=len(ids)))
        assert self.index.upsert(self.pool[picks].reshape(len(ids), D), ids).tolist() == ids
        self.put(ids, picks)

    @rule(ids=st.lists(IDS, max_size=25))
    def remove(self, ids: list[int]) -> None:
        there = set(ids) & self.content.keys()
        assert self.index.remove(np.array(ids, np.int64)) == len(there)
        for i in there:
            del self.content[i]

    @rule()
    @precondition(lambda self: len(self.content) > 4)
    def remove_most(self) -> None:
        gone = list(self.content)[2:]
        assert self.index.remove(gone) == len(gone)
        self.content = {i: p for i, p in self.content.items() if i not in gone}

    @rule()
    def compact(self) -> None:
        self.index.compact()
        assert self.index.stats()["rows"] == len(self.content)

    @rule(bad=st.sampled_from(["nan", "wide", "twice", "negative"]))
    def refused(self, bad: str) -> None:
        rows, ids = self.pool[:2].copy(), [70, 71]
        if bad == "nan" and rows.dtype == np.float32:
            rows[1, 3] = np.nan
        elif bad == "twice":
            ids = [70, 70]
        elif bad == "negative":
            ids = [70, -1]
        else:
            rows = np.concatenate([rows, rows], axis=1)
        for call in (self.index.add, self.index.upsert):
            with pytest.raises(sb.ArgumentError):
                call(rows, ids)

    @rule(mmap=st.booleans(), verify=st.booleans())
    def save_and_load(self, mmap: bool, verify: bool) -> None:
        self.saves += 1
        path = Path(self.folder.name) / f"{self.saves}.sb"
        self.index.save(path)
        loaded = sb.Index.load(path, mmap=mmap, verify=verify)
        np.testing.assert_array_equal(loaded.ids(), self.index.ids())
        self.index = loaded
        # The file knows the ids that are left, so a loaded index goes on from the largest of those.
        self.next_id = max([0, *(min(i + 1, 2**63 - 1) for i in self.content)])

    @rule(target=filters, ids=st.lists(IDS, max_size=40))
    def make_filter(self, ids: list[int]) -> tuple[sb.Allowed, list[int]]:
        return self.index.allow(np.array(ids, np.int64)), ids

    @rule(made=filters, pick=st.integers(0, POOL - 1), k=st.sampled_from([1, 3, 10, 50]), exact=st.booleans())
    def search_allowed(self, made: tuple[sb.Allowed, list[int]], pick: int, k: int, exact: bool) -> None:
        allowed, ids = made
        self.compare(self.index.search(self.pool[[pick]], k, ef=300, allowed=allowed, exact=exact), pick, set(ids))

    @rule(pick=st.integers(0, POOL - 1), k=st.sampled_from([1, 3, 10, 50]), exact=st.booleans())
    def search(self, pick: int, k: int, exact: bool) -> None:
        self.compare(self.index.search(self.pool[[pick]], k, ef=300, exact=exact), pick, set(self.content))

    @rule(pick=st.integers(0, POOL - 1), share=st.floats(0, 1), exact=st.booleans())
    def within(self, pick: int, share: float, exact: bool) -> None:
        every = self.truth(pick, set(self.content))
        radius = float(np.quantile(list(every.values()), share)) if every else 1.0
        ranges = self.index.within(self.pool[[pick]], radius, ef=300, exact=exact)
        slack = self.tolerance * max(1.0, abs(radius))
        assert set(ranges.ids.tolist()) <= {i for i, at in every.items() if at <= radius + slack}
        assert set(ranges.ids.tolist()) >= {i for i, at in every.items() if at <= radius - slack}

    def truth(self, pick: int, ids: set[int]) -> dict[int, float]:
        present = [i for i in self.content if i in ids]
        rows = self.pool[[self.content[i] for i in present]].reshape(len(present), D)
        return dict(zip(present, distances(rows, self.pool[[pick]], self.metric)[0].tolist(), strict=True))

    def compare(self, hits: sb.Hits, pick: int, ids: set[int]) -> None:
        """Ids exist, are distinct and as near as the model's; distances are those of their ids."""
        every = self.truth(pick, ids)
        kept = min(hits.ids.shape[1], len(every))
        found, near = hits.ids[0].tolist(), hits.distances[0]
        assert found[kept:] == [-1] * (len(found) - kept)
        assert np.isposinf(near[kept:]).all()
        assert set(found[:kept]) <= every.keys()
        assert len(set(found[:kept])) == kept
        scale = self.tolerance * max([1.0, *map(abs, every.values())])
        np.testing.assert_allclose(near[:kept], [every[i] for i in found[:kept]], atol=scale)
        np.testing.assert_allclose(near[:kept], sorted(every.values())[:kept], atol=2 * scale)

    @invariant()
    def holds_what_the_model_holds(self) -> None:
        if not hasattr(self, "index"):
            return
        assert len(self.index) == len(self.content)
        assert sorted(self.index.ids().tolist()) == sorted(self.content)
        report = self.index.check()
        assert report.ok, report
        assert report.live == len(self.content)
        if self.content:
            ids = np.array(list(self.content), np.int64)
            want = self.pool[list(self.content.values())]
            if self.metric == "cosine":
                want = want / np.linalg.norm(want, axis=1, keepdims=True)
            np.testing.assert_allclose(self.index.get(ids), want, atol=4e-3)


def machine(metric: str, **options: object) -> type:
    made = type("Machine", (IndexMachine,), {"metric": metric, "options": options})
    made.TestCase.settings = SETTINGS  # type: ignore[attr-defined]
    return made.TestCase  # type: ignore[attr-defined]


TestCosine = machine("cosine")
TestInnerProduct = machine("ip")
TestL2 = machine("l2", max_degree=8, ef_construction=20)
TestL2Float32 = machine("l2", codes="f32", rerank=None, max_degree=8, ef_construction=40)
TestL2Halves = machine("l2", codes="i4", rerank="f32", max_degree=8, ef_construction=20)
TestCosineSplitRows = machine("cosine", codes="i4", rerank="i8", max_degree=8, ef_construction=40)
TestL2NeighbourCodes = machine("l2", codes="b1", max_degree=8, ef_construction=20)
TestCosineNeighbourCodes = machine("cosine", codes="b1", rerank="f32", max_degree=40, ef_construction=40)
TestHamming = machine("hamming")
TestJaccard = machine("jaccard", max_degree=8, ef_construction=30)
TestFlatL2 = machine("l2", kind="flat")
TestFlatCosineHalf = machine("cosine", kind="flat", codes="f16")
TestFlatHamming = machine("hamming", kind="flat")
