"""Any sequence of calls leaves the collection equal to a dict."""

from __future__ import annotations

import shutil
import tempfile
from typing import Any

import numpy as np
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule
from twin import distances_of

from semblance import ArgumentError, NotFoundError
from semblance.collection import Collection

ids = st.one_of(st.integers(0, 5), st.sampled_from(["0", "a", "ü", "x'y", "1"]))
vectors = st.lists(st.integers(-3, 3).map(float), min_size=3, max_size=3)
records = st.fixed_dictionaries(
    {"id": ids, "vector": vectors},
    optional={"text": st.sampled_from(["red fox", "blue fox", ""]), "n": st.integers(0, 3)},
)


class CollectionModel(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.mkdtemp()
        self.model: dict[Any, dict[str, Any]] = {}
        self.db = self.opened()

    def opened(self) -> Collection:
        return Collection.open(f"{self.folder}/m.db", dim=3, metric="l2", indexed=("n",))

    def teardown(self) -> None:
        assert self.db.check()
        self.db.close()
        shutil.rmtree(self.folder)

    @rule(some=st.lists(records, max_size=5), batch=st.integers(1, 6))
    def add(self, some: list[dict[str, Any]], batch: int) -> None:
        distinct = {record["id"] for record in some}
        if len(distinct) == len(some) and not distinct & self.model.keys():
            assert self.db.add(some, batch=batch) == len(some)
            self.model.update({record["id"]: record for record in some})
        else:
            before = self.db.ids()
            try:
                self.db.add(some, batch=batch)
            except ArgumentError:
                assert self.db.ids() == before
            else:
                raise AssertionError("an id that exists was added")

    @rule(some=st.lists(records, max_size=5), batch=st.integers(1, 6))
    def upsert(self, some: list[dict[str, Any]], batch: int) -> None:
        assert self.db.upsert(iter(some), batch=batch) == len(some)
        self.model.update({record["id"]: record for record in some})

    @rule(some=st.lists(ids, max_size=3), strict=st.booleans())
    def remove(self, some: list[Any], strict: bool) -> None:
        present = set(some) & self.model.keys()
        try:
            assert self.db.remove(some, strict=strict) == len(present)
        except NotFoundError:
            assert strict
            assert len(present) < len(set(some))
            return
        self.model = {key: record for key, record in self.model.items() if key not in present}

    @rule(how=st.sampled_from(["close", "kill", "checkpoint"]))
    def reopen(self, how: str) -> None:
        if how == "checkpoint":
            self.db.checkpoint()
            return
        if how == "close":
            self.db.close()
        else:
            self.db._close_files()
        self.db = self.opened()

    @rule(query=vectors, n=st.integers(0, 3), k=st.integers(1, 20))
    def search(self, query: list[float], n: int, k: int) -> None:
        for where, wanted in (
            (None, list(self.model.values())),
            (("n >= ?", (n,)), [record for record in self.model.values() if record.get("n", -1) >= n]),
        ):
            hits = self.db.search(query, k=k, where=where)
            scores = sorted(
                (
                    -float(distances_of(np.array([query]), np.array([record["vector"]]), "l2")[0, 0])
                    for record in wanted
                ),
                reverse=True,
            )
            assert [hit.score for hit in hits] == scores[:k]
            for hit in hits:
                want = {name: value for name, value in self.model[hit.id].items() if name != "vector"}
                assert hit.record == want

    @invariant()
    def same(self) -> None:
        assert len(self.db) == len(self.model)
        assert set(self.db.ids()) == set(self.model)
        if self.model:
            some = list(self.model)
            np.testing.assert_array_equal(self.db.vectors(some), [self.model[key]["vector"] for key in some])


CollectionModel.TestCase.settings = settings(max_examples=15, stateful_step_count=12, deadline=None)
TestCollectionModel = CollectionModel.TestCase
