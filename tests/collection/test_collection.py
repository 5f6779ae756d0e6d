from __future__ import annotations

import logging
import os
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from twin import HashEncoder, TwinIndex

from semblance import ArgumentError, CapacityError, FormatError, NotFoundError
from semblance.collection import Collection, Hit

Open = Callable[..., Collection]
Films = list[dict[str, Any]]


def test_the_contract(open_db: Open, films: Films) -> None:
    db = open_db(indexed=("year", "genre"), encoder=HashEncoder(256))
    assert db.add(films) == 5
    assert len(db) == 5
    assert "tt1" in db
    assert 5 in db
    assert "5" not in db
    assert db.get("tt4") == films[3]
    assert db.get([5, "tt1"]) == [films[4], films[0]]
    assert db.ids() == ["tt1", "tt2", "tt3", "tt4", 5]
    hits = db.search("ship sea", k=2)
    assert [hit.id for hit in hits] == ["tt1", "tt4"]
    assert isinstance(hits[0], Hit)
    assert hits[0].record == films[0]
    assert 1 >= hits[0].score > hits[1].score
    assert [hit.id for hit in db.search("sea", where="year >= 1990 AND genre = 'drama'")] == ["tt1"]
    assert db.remove(["tt1", "none"]) == 1
    assert "tt1" not in db
    assert [hit.id for hit in db.search("ship sea", k=1)] == ["tt4"]
    assert db.check()


def test_everything_is_there_after_reopening(open_db: Open, films: Films) -> None:
    with open_db(indexed=("year",)) as db:
        db.add(films)
        db.remove("tt2")
        before = db.search("the cold sea", k=5)
    with open_db() as db:
        assert db.search("the cold sea", k=5) == before
        assert db.indexed == ("year",)
        assert db._live.saved_sequence == 6
        assert db.check()


def test_vectors_without_an_encoder(open_db: Open) -> None:
    db = open_db(dim=3, metric="l2")
    rows = np.eye(3, dtype=np.float64) * [[1], [2], [3]]
    db.add([{"id": n, "vector": row, "n": n} for n, row in enumerate(rows)])
    assert [(hit.id, hit.score) for hit in db.search([0, 2, 0], k=2)] == [(1, 0.0), (0, -5.0)]
    np.testing.assert_array_equal(db.vectors([2, 0]), rows[[2, 0]])
    assert db.get(1) == {"id": 1, "n": 1}
    several = db.search(rows.astype(np.float32), k=1)
    assert [[hit.id for hit in hits] for hits in several] == [[0], [1], [2]]
    assert db.search(rows.tolist(), k=1) == several
    with pytest.raises(ArgumentError, match="query: expected vectors, got text"):
        db.search("text")
    with pytest.raises(ArgumentError, match=r"records\[0:1\]: expected vectors, got text"):
        db.add({"id": 9, "text": "text"})
    assert len(db) == 3


@pytest.mark.parametrize("metric", ["cosine", "ip", "l2"])
def test_scores_follow_the_metric(open_db: Open, metric: str) -> None:
    db = open_db(dim=2, metric=metric)
    db.add([{"id": "a", "vector": [3.0, 4.0]}, {"id": "b", "vector": [0.0, 1.0]}])
    scores = {hit.id: hit.score for hit in db.search([0.0, 2.0])}
    want = {"cosine": (0.8, 1.0), "ip": (8.0, 2.0), "l2": (-13.0, -1.0)}[metric]
    np.testing.assert_allclose([scores["a"], scores["b"]], want, rtol=1e-3)  # the index may rerank by f16


def test_several_text_queries(open_db: Open, films: Films) -> None:
    db = open_db()
    db.add(films)
    several = db.search(["sea", "park"], k=3)
    alone = [db.search("sea", k=3), db.search("park", k=3)]
    assert [[hit.id for hit in hits] for hits in several] == [[hit.id for hit in hits] for hits in alone]
    np.testing.assert_allclose([hit.score for hit in several[1]], [hit.score for hit in alone[1]], rtol=1e-4)


def test_upsert_replaces_wholly(open_db: Open, films: Films) -> None:
    db = open_db(indexed=("year",))
    db.add(films)
    assert db.upsert([{"id": "tt1", "text": "lions rest", "year": 2001}, {"id": "new", "text": "x"}]) == 2
    assert db.get("tt1") == {"id": "tt1", "text": "lions rest", "year": 2001}
    assert [hit.id for hit in db.search("lions rest", k=1)] == ["tt1"]
    assert [hit.id for hit in db.search("x", where="year = 2001")] == ["tt1"]
    assert [hit.id for hit in db.search("ship", hybrid=True, k=10)] != []
    assert db.upsert([{"id": 5, "text": "first"}, {"id": 5, "text": "last"}]) == 2
    assert db.get(5) == {"id": 5, "text": "last"}
    assert len(db) == 6
    assert db.check()


def test_hybrid_finds_words_that_the_vector_misses(open_db: Open) -> None:
    encoder = HashEncoder()
    db = open_db(encoder=encoder)
    far = encoder.encode(["something else entirely"])[0]
    db.add([{"id": n, "text": f"filler {n}", "year": n} for n in range(200)])
    db.add([{"id": "rare", "text": "the Zyzzyva beetles", "vector": far, "year": 7}])
    assert "rare" in [hit.id for hit in db.search("zyzzyva beetle", k=5, hybrid=True)]
    assert {hit.id for hit in db.search("zyzzyva", k=5, hybrid=True, where="year = 7")} == {"rare", 7}
    assert "rare" not in [hit.id for hit in db.search("zyzzyva", k=5, hybrid=True, where="year = 8")]
    for text in ('" OR *', "NEAR(a b)", "text:x", "-a +b ^c", "(", "'", "ü\u0301", "AND", "x" * 5000, "a " * 5000):
        assert len(db.search(text, k=3, hybrid=True)) == 3
    with pytest.raises(ArgumentError, match="expected text for a hybrid search"):
        db.search(far, hybrid=True)


def test_fewer_hits_than_asked(open_db: Open, films: Films) -> None:
    db = open_db()
    assert db.search("anything", k=5) == []
    assert db.search(["a", "b"], hybrid=True) == [[], []]
    db.add(films[:2])
    assert len(db.search("sea", k=10**12)) == 2
    assert db.search("sea", where="year > 3000") == []


@pytest.mark.parametrize(
    ("records", "message"),
    [
        ([{"text": "x"}], r"records\[0\]: expected an 'id'"),
        ([{"id": 1, "text": "x"}, {"id": 2}], r"records\[1\]: expected 'text' or 'vector'"),
        ([{"id": 1.5, "text": "x"}], r"records\[0\]\['id'\]: expected non-empty text or an integer"),
        ([{"id": True, "text": "x"}], r"records\[0\]\['id'\]"),
        ([{"id": "", "text": "x"}], r"records\[0\]\['id'\]"),
        ([{"id": "a\0b", "text": "x"}], r"records\[0\]\['id'\]"),
        ([{"id": 2**63, "text": "x"}], r"records\[0\]\['id'\]"),
        ([{"id": "\ud800", "text": "x"}], r"records\[0\]\['id'\]"),
        ([{"id": 1, "text": 5}], r"records\[0\]\['text'\]: expected text, got int"),
        ([{"id": 1, "text": "\ud800"}], r"records\[0\]\['text'\]"),
        ([{"id": 1, "text": "x", "bad": {1, 2}}], r"records\[0\]\['bad'\]: expected JSON"),
        ([{"id": 1, "text": "x", "bad": float("nan")}], r"records\[0\]\['bad'\]: expected JSON"),
        ([{"id": 1, "text": "x", "bad": b"x"}], r"records\[0\]\['bad'\]: expected JSON"),
        ([{"id": 1, "text": "x", "bad": 10**400}], r"records\[0\]\['bad'\]: expected JSON"),
        ([{"id": 1, "text": "x", 7: "x"}], r"records\[0\]: expected text as field names"),
        (
            [{"id": 1, "vector": [1.0] * 31}],
            r"records\[0\]\['vector'\]: expected float32 of shape \(32,\), got .* \(31,\)",
        ),
        ([{"id": 1, "vector": [[1.0] * 32]}], r"records\[0\]\['vector'\]: expected float32 of shape"),
        ([{"id": 1, "vector": np.ones(32, int)}], r"records\[0\]\['vector'\]: expected float32 .* got int64"),
        ([{"id": 1, "vector": ["a"] * 32}], r"records\[0\]\['vector'\]: expected float32"),
        ([{"id": 1, "vector": [[1], [2, 3]]}], r"records\[0\]\['vector'\]: expected numbers"),
        ([{"id": 1, "vector": [np.nan] * 32}], r"records\[0\]\['vector'\]: expected finite"),
        ([{"id": 1, "vector": [1e300] * 32}], r"records\[0\]\['vector'\]: expected finite"),
        ([{"id": 1, "vector": [0.0] * 32}], r"records\[0\]: expected a vector that is not zero under cosine"),
        ([{"id": 1, "text": "x"}, {"id": 1, "text": "y"}], "expected distinct ids, got 1 twice"),
        ([{"id": 1, "text": "x"}, {"id": "tt1", "text": "y"}], "expected new ids, got 'tt1' .upsert replaces"),
        (["x"], r"records\[0\]: expected a dict with an id, got str"),
        ("x", "records: expected dicts, got str"),
        (5, "records: expected dicts, got int"),
    ],
)
@pytest.mark.parametrize("batch", [1, 1000])
def test_bad_records_change_nothing(open_db: Open, films: Films, records: Any, message: str, batch: int) -> None:
    db = open_db()
    db.add(films)
    sequence = db.stats()["sequence"]
    with pytest.raises(ArgumentError, match=message):
        db.add(records, batch=batch)
    assert db.stats()["sequence"] == sequence
    assert db.check()


def test_deep_nesting_is_refused_at_a_limit(open_db: Open) -> None:
    db = open_db()
    deep: Any = 1
    for _ in range(90):
        deep = [deep]
    db.add({"id": 1, "text": "x", "deep": deep})
    assert db.get(1)["deep"] == deep
    for _ in range(100_000):
        deep = [deep]
    with pytest.raises(ArgumentError, match="levels of nesting"):
        db.add({"id": 2, "text": "x", "deep": deep})
    while isinstance(deep, list):  # let go level by level
        deep = deep[0]


def test_any_json_comes_back(open_db: Open) -> None:
    db = open_db()
    record = {
        "id": -(2**63),
        "text": "x\0ü\n",
        "a": None,
        "b": [True, 1.5, {"c": "ü'\"\\"}],
        "": {},
        "$": 2**70,
        "key": 1,
    }
    db.add([record, {"id": "1", "text": "text id"}, {"id": 1, "text": "int id", "n": np.float32(0.5), "t": (1, 2)}])
    assert db.get(-(2**63)) == record
    assert db.get("1")["text"] == "text id"
    assert db.get(1) == {"id": 1, "text": "int id", "n": 0.5, "t": [1, 2]}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"k": 0}, "k: expected an integer of at least 1, got 0"),
        ({"k": 1.0}, "k: expected"),
        ({"k": True}, "k: expected"),
        ({"query": np.ones(31, np.float32)}, r"query: expected float32 of shape \(32,\)"),
        ({"query": np.ones((2, 31), np.float32)}, r"query: expected float32 of shape \(n, 32\)"),
        ({"query": np.full(32, np.inf)}, "query: expected finite"),
        ({"query": None}, "query: expected float32"),
        ({"query": []}, "query: expected float32"),
        ({"query": ["a", 1]}, "query: expected float32"),
        ({"query": {"a": 1}}, "query: expected float32"),
    ],
)
def test_bad_searches(open_db: Open, films: Films, arguments: dict[str, Any], message: str) -> None:
    db = open_db()
    db.add(films)
    with pytest.raises(ArgumentError, match=message):
        db.search(**{"query": "sea", **arguments})


def test_missing_ids(open_db: Open, films: Films) -> None:
    db = open_db()
    db.add(films)
    for call in (db.get, db.vectors):
        with pytest.raises(NotFoundError, match="ids: expected ids that exist, got 'none'"):
            call(["tt1", "none"])
    with pytest.raises(NotFoundError, match="'none'"):
        db.remove(["tt1", "none"], strict=True)
    assert db.remove([]) == 0
    assert db.remove("none") == 0
    assert len(db) == 5
    for bad in (None, 1.5, {"a": 1}, [None]):
        with pytest.raises(ArgumentError, match="ids"):
            db.remove(bad)  # type: ignore[arg-type]


def test_opening_with_what_does_not_fit(open_db: Open, films: Films, tmp_path: Path) -> None:
    with open_db() as db:
        db.add(films)
    with pytest.raises(ArgumentError, match=r"encoder: expected the encoder that made .* 'hash-1', got 'hash-2'"):
        open_db(encoder=HashEncoder(fingerprint="hash-2"))
    with pytest.raises(ArgumentError, match="dim: expected the collection's 32, got 31"):
        open_db(dim=31)
    with pytest.raises(ArgumentError, match="metric: expected the collection's 'cosine', got 'l2'"):
        open_db(metric="l2")
    with pytest.raises(ArgumentError, match="encoder: expected encode, dim and fingerprint, got object"):
        open_db(encoder=object())
    for indexed in ("year", ("a.",), ('"',), ("id",), (5,), None, 3, np.array("year")):
        with pytest.raises(ArgumentError, match=r"indexed|field"):
            open_db(indexed=indexed)
    for new in ({"metric": "hamming"}, {"dim": 0}, {"dim": True}, {"encoder": HashEncoder(), "dim": 5}):
        with pytest.raises(ArgumentError, match=r"metric|dim"):
            Collection.open(tmp_path / "new.db", **{"dim": 3, **new})  # type: ignore[arg-type]
    with pytest.raises(ArgumentError, match="path: expected an existing folder"):
        open_db("none/items.db")
    with pytest.raises(ArgumentError, match="path: expected a database file, got the folder"):
        Collection.open(tmp_path, dim=2)
    assert sorted(os.listdir(tmp_path)) == ["items.db", "items.db.index"]
    with open_db() as db:
        assert db.check()


def test_foreign_damaged_and_newer_files(tmp_path: Path, open_db: Open, films: Films) -> None:
    (tmp_path / "text.db").write_text("no database" * 1000)
    with pytest.raises(FormatError, match="expected a whole SQLite database, got file is not a database"):
        open_db("text.db")
    other = sqlite3.connect(tmp_path / "other.db")
    other.execute("CREATE TABLE mine(x)")
    other.close()
    content = (tmp_path / "other.db").read_bytes()
    with pytest.raises(FormatError, match="expected a semblance collection, got another SQLite database"):
        open_db("other.db")
    assert (tmp_path / "other.db").read_bytes() == content
    with open_db() as db:
        db.add(films)
    raw = sqlite3.connect(tmp_path / "items.db")
    raw.execute("PRAGMA user_version = 99")
    raw.close()
    with pytest.raises(FormatError, match="expected schema version up to 1, got 99"):
        open_db()


@pytest.mark.parametrize("damage", ["missing", "empty", "cut", "flipped", "foreign", "other", "later"])
def test_an_index_file_that_cannot_be_used_is_rebuilt(
    tmp_path: Path, open_db: Open, films: Films, damage: str, caplog: pytest.LogCaptureFixture
) -> None:
    with open_db() as db:
        db.add(films)
        want = db.search("cold sea", k=5)
    file = tmp_path / "items.db.index"
    content = file.read_bytes()
    if damage == "missing":
        file.unlink()
    elif damage == "other":
        with open_db("b.db") as other:
            other.add({"id": "intruder", "text": "cold sea"})
        file.write_bytes((tmp_path / "b.db.index").read_bytes())
    elif damage == "later":
        backup = (tmp_path / "items.db").read_bytes()
        with open_db() as db:
            db.add({"id": "gone", "text": "cold sea"})
        (tmp_path / "items.db").write_bytes(backup)
    else:
        flipped = bytes([content[0]]) + content[1:-40] + bytes([content[-40] ^ 1]) + content[-39:]
        file.write_bytes({"empty": b"", "cut": content[:-1], "flipped": flipped, "foreign": b"x" * 500}[damage])
    with caplog.at_level(logging.INFO), open_db() as db:
        assert db.search("cold sea", k=5) == want
        assert db.check()
    assert "building the index from the records" in caplog.text
    caplog.clear()
    with caplog.at_level(logging.INFO), open_db() as db:  # the rebuilt index was written
        assert db.search("cold sea", k=5) == want
    assert caplog.text == ""


@pytest.mark.usefixtures("twin_index")
def test_an_index_file_that_is_behind_is_caught_up(
    open_db: Open, films: Films, monkeypatch: pytest.MonkeyPatch
) -> None:
    with open_db() as db:
        db.add(films[:3])
    db = open_db()
    db.upsert({"id": "tt1", "text": "lions rest"})
    db.remove("tt2")
    db.add(films[3:])
    db._close_files()  # as a kill would leave it
    monkeypatch.setattr(TwinIndex, "build", None)  # must not be needed
    db = open_db()
    assert db._live.saved_sequence == 3
    assert [hit.id for hit in db.search("lions rest", k=1)] == ["tt1"]
    assert "tt2" not in [hit.id for hit in db.search("dinosaurs escape in a park", k=5)]
    assert db.check()


def test_pruned_tombstones_are_made_up_for(open_db: Open, films: Films, tmp_path: Path) -> None:
    with open_db() as db:
        db.add(films)
    old = (tmp_path / "items.db.index").read_bytes()
    with open_db() as db:
        db.remove(["tt1", "tt2"])
    (tmp_path / "items.db.index").write_bytes(old)
    db = open_db()
    assert {hit.id for hit in db.search("sea", k=5)} == {"tt3", "tt4", 5}
    assert db.check()


@pytest.mark.usefixtures("twin_index")
def test_a_failing_index_changes_nothing(open_db: Open, films: Films, monkeypatch: pytest.MonkeyPatch) -> None:
    db = open_db()
    db.add(films[:3])
    upsert, before = TwinIndex.upsert, db.search("sea", k=9)

    def half(self: TwinIndex, vectors: np.ndarray, ids: np.ndarray) -> np.ndarray:
        upsert(self, vectors[:1], ids[:1])
        monkeypatch.setattr(TwinIndex, "upsert", upsert)
        raise MemoryError

    monkeypatch.setattr(TwinIndex, "upsert", half)
    with pytest.raises(MemoryError):
        db.upsert([*films[2:], {"id": "tt1", "text": "other"}])
    assert db.search("sea", k=9) == before
    assert db.check()
    assert db.add(films[3:]) == 2


def test_a_failing_commit_changes_nothing(open_db: Open, films: Films) -> None:
    db = open_db()
    db.add(films[:3])
    before = db.search("sea", k=9)
    with db._store.writing() as connection:
        pages = connection.execute("PRAGMA page_count").fetchone()[0]
        connection.execute(f"PRAGMA max_page_count = {pages}")
    with pytest.raises(CapacityError, match="full"):
        db.upsert([{"id": n, "text": f"word{n} ", "long": "x" * 2000} for n in range(300)])
    with db._store.writing() as connection:
        connection.execute("PRAGMA max_page_count = 1000000")
    assert db.search("sea", k=9) == before
    assert db.check()
    assert db.add(films[3:]) == 2


def test_interrupts_between_batches_keep_what_was_acknowledged(open_db: Open) -> None:
    db = open_db()
    records = [{"id": n, "text": f"word{n}"} for n in range(100)]
    seen: list[tuple[int, int | None]] = []

    def stop(done: int, total: int | None) -> None:
        seen.append((done, total))
        if done >= 30:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        db.add(records, batch=10, progress=stop)
    assert seen == [(10, 100), (20, 100), (30, 100)]
    assert db.ids() == list(range(30))
    assert db.check()
    assert db.upsert(iter(records), batch=64, progress=True) == 100
    assert len(db) == 100


def test_a_bad_record_of_an_iterator_keeps_the_batches_before(open_db: Open) -> None:
    db = open_db()
    with pytest.raises(ArgumentError, match=r"records\[25\]: expected an 'id'"):
        db.add(({"id": n, "text": "x"} if n != 25 else {} for n in range(40)), batch=10)
    assert db.ids() == list(range(20))
    assert db.check()


def test_closed_is_closed(open_db: Open, films: Films) -> None:
    db = open_db()
    db.add(films)
    db.close()
    db.close()
    for call in (
        lambda: db.search("x"),
        lambda: db.add(films),
        lambda: db.remove("tt1"),
        lambda: len(db),
        db.checkpoint,
    ):
        with pytest.raises(ArgumentError, match="expected an open collection, got a closed one"):
            call()
    assert "closed" in repr(db)


def test_removed_text_is_gone_from_the_files(open_db: Open, tmp_path: Path) -> None:
    db = open_db()
    db.add([{"id": "secret", "text": "unobtainium", "note": "adamantium"}, {"id": "other", "text": "x"}])
    db.remove("secret")
    db.close()
    with sqlite3.connect(tmp_path / "items.db") as raw:
        raw.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        assert raw.execute("SELECT count(*) FROM vectors").fetchone() == (1,)
    raw.close()
    content = b"".join(file.read_bytes() for file in tmp_path.iterdir())
    assert b"adamantium" not in content


def test_arrays_without_axes_and_flags_that_are_arrays_are_refused(open_db: Open) -> None:
    db = open_db(dim=2)
    db.add({"id": 1, "vector": [1, 1]})
    for call, message in (
        (lambda: db.remove(np.array(1.5)), "ids: expected an id or ids"),
        (lambda: db.add(np.array(3)), "records: expected dicts"),
        (lambda: db.remove([1], strict=np.zeros(2)), "strict: expected True or False"),  # type: ignore[arg-type]
        (lambda: db.search([1, 1], hybrid=np.zeros(2)), "hybrid: expected True or False"),  # type: ignore[arg-type]
    ):
        with pytest.raises(ArgumentError, match=message):
            call()
    assert db.ids() == [1]


def test_replaced_rows_are_given_back(open_db: Open, tmp_path: Path) -> None:
    db = open_db(dim=4)
    rows = [{"id": n, "vector": [n, 1, 0, 0], "note": "adamantium"} for n in range(300)]
    for _ in range(6):
        db.upsert(rows)
    assert db._live.index.stats()["rows"] == 1800
    db.checkpoint()
    assert db._live.index.stats()["rows"] == 300
    db.remove(range(1, 300))
    db.compact()
    assert db._live.index.stats()["rows"] == 1
    assert db.check()
    db.close()
    assert b"".join(file.read_bytes() for file in tmp_path.iterdir()).count(b"adamantium") == 1
    assert len(open_db(dim=4).search([0.0, 1.0, 0.0, 0.0])) == 1


def test_stats_and_sizes(open_db: Open, films: Films) -> None:
    db = open_db(indexed=("year",))
    db.add(films)
    stats = db.stats()
    assert (stats["records"], stats["dim"], stats["sequence"], stats["index_sequence"]) == (5, 32, 5, 5)
    assert stats["saved_sequence"] == -1
    db.checkpoint()
    assert db.stats()["saved_sequence"] == 5
    assert db.stats()["bytes"]["index"] > 0
    assert "5 records" in repr(db)


def test_check_names_what_disagrees(open_db: Open, films: Films) -> None:
    db = open_db()
    db.add(films)
    db._live.index.remove(np.array([2]))
    report = db.check()
    assert not report
    assert report.problems == ["index: expected the records' keys, got 1 missing and 0 too many"]
