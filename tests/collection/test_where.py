"""Conditions: what they select, and that nothing but a condition ever reaches SQLite."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from semblance import ArgumentError
from semblance.collection import Collection
from semblance.collection.where import compile_where

Open = Callable[..., Collection]
Films = list[dict[str, Any]]


@pytest.fixture(params=[(), ("year", "genre", "rating", "director.name", "genres", "odd name", "Year")])
def db(request: pytest.FixtureRequest, open_db: Open, films: Films) -> Collection:
    collection = open_db(indexed=request.param)
    collection.add(films)
    return collection


def selected(db: Collection, where: Any) -> set[Any]:
    return {hit.id for hit in db.search("anything", k=100, where=where)}


@pytest.mark.parametrize(
    ("where", "want"),
    [
        ("year >= 1990 AND genre = 'drama'", {"tt1"}),
        ("year >= 1990 and not genre = 'drama'", {"tt2", "tt3"}),
        ("(year < 1960 OR year = 1993) AND genre <> 'x'", {"tt2", "tt4"}),
        ("year IS NULL", {5}),
        ("year IS NOT NULL AND genre == 'drama'", {"tt1", "tt4"}),
        ("year BETWEEN 1991 AND 1993", {"tt2", "tt3"}),
        ("year in (1991, 1958)", {"tt3", "tt4"}),
        ("genre IN ('crime', 'adventure')", {"tt2", "tt3"}),
        ("genre NOT IN ('crime', 'adventure')", {"tt1", "tt4", 5}),
        ("genre LIKE 'D%'", {"tt1", "tt4", 5}),
        ("genre GLOB 'd*' AND id <> 5", {"tt1", "tt4"}),
        ("genre = 'DRAMA' COLLATE NOCASE AND year > 1990", {"tt1"}),
        ("rating > 8.5", {"tt3"}),
        ("rating > 8.5e0 AND rating < .9e1", {"tt3"}),
        ("year + 3 = 2000 - -0", {"tt1"}),
        ("director.name = 'Sturges'", {"tt4"}),
        ('director."name" = \'Sturges\'', {"tt4"}),
        ('"odd name" = \'x y\'', {5}),
        ("seen", {5}),
        ("seen = TRUE", {5}),
        ("id = 'tt1'", {"tt1"}),
        ("id = 5", {5}),
        ("id = '5'", set()),
        ("text LIKE '%sea%'", {"tt1", "tt4"}),
        ("length(text) > 28", {"tt3"}),
        ("lower(upper(genre)) = 'crime'", {"tt3"}),
        ("coalesce(year, 0) = 0", {5}),
        ("max(year, 1992) = 1992 AND id <> 5", {"tt3", "tt4"}),
        ("CASE WHEN year > 1995 THEN 1 ELSE 0 END", {"tt1"}),
        ("contains(genres, 'sea')", {"tt1", "tt2"}),
        ("contains(genres, 'sea') AND contains(genres, lower('DRAMA'))", {"tt1"}),
        ("contains(genres, genre)", {"tt1"}),
        ("contains(genre, 'crime')", {"tt3"}),
        ("contains(director.name, 'Sturges') OR year = 1993", {"tt2", "tt4"}),
        ("nothing IS NULL AND Year IS NULL AND value IS NULL AND key IS NULL AND id = 5", {5}),
        ('genre = "crime"', set()),
        ("genre = 'it''s -- ; /* fine */'", set()),
        ("1", {"tt1", "tt2", "tt3", "tt4", 5}),
        ("1 = 0", set()),
        (("year >= ?", (1993,)), {"tt1", "tt2"}),
        (("year >= ? AND genre = ?", [1990, "drama"]), {"tt1"}),
        (("year >= :from AND year < :to AND year < :to", {"from": 1990, "to": 1995}), {"tt2", "tt3"}),
        (("year IN ?", ([1991, 1993],)), {"tt2", "tt3"}),
        (("id IN ?", (["tt1", 5],)), {"tt1", 5}),
        (("year IN :years", {"years": {1991}}), {"tt3"}),
        (("year IN ?", (np.array([1991, 1993]),)), {"tt2", "tt3"}),
        (("year = ?", (np.int64(1991),)), {"tt3"}),
        (("genre = ?", ("x' OR 1=1; DROP TABLE records; --",)), set()),
        (("year IN ?", (list(range(100_000)),)), {"tt1", "tt2", "tt3", "tt4"}),
    ],
)  # fmt: skip
def test_what_conditions_select(db: Collection, where: Any, want: set[Any]) -> None:
    assert selected(db, where) == want


ATTACKS = [
    "1=1; DROP TABLE records",
    "1=1; DROP TABLE records; --",
    "1); DROP TABLE records; SELECT (1",
    "1=1) OR (1=1",
    "1)) UNION SELECT key FROM records WHERE ((1",
    "id IN (SELECT id FROM records)",
    "(SELECT count(*) FROM sqlite_master)",
    "EXISTS (SELECT 1)",
    "EXISTS(SELECT 1)",
    "select(1)",
    "1 UNION ALL SELECT 1",
    "PRAGMA writable_schema = 1",
    "pragma_table_info('records')",
    "ATTACH 'x.db' AS x",
    "VACUUM INTO 'x.db'",
    "load_extension('x')",
    "load_extension ('x')",
    "readfile('/etc/passwd')",
    "writefile('x', 'y')",
    "randomblob(1000000000)",
    "zeroblob(1000000000)",
    "printf('%1000000000d', 1)",
    "sqlite_version() = '1'",
    "json_extract(fields, '$.year') = 1",
    "json_each(fields)",
    "fts5(1)",
    "bm25(words)",
    "random()",
    "count(*)",
    "count(year)",
    "max(year)",
    "year > 1 -- comment",
    "year > 1 --",
    "year > 1 /* comment */",
    "/**/ 1",
    "year = 1 # x",
    "year = `year`",
    "year = [year]",
    "year = $1",
    "year = @a",
    "year = ?1",
    "year = x'00'",
    "year = 0x10",
    "year MATCH 'x'",
    "words MATCH 'x'",
    "year REGEXP 'x'",
    "CAST(year AS TEXT)",
    "RAISE(ABORT, 'x')",
    "records.key.x..y = 1",
    ".year = 1",
    "year. = 1",
    "year >= ",
    "= 1",
    "year year",
    "year = 'open",
    'year = "open',
    "year = ''' ",
    "(year = 1",
    "year = 1)",
    "((year = 1)))(",
    ")(",
    "",
    "   ",
    ";",
    ";;",
    "\0",
    "year = 1\0",
    "year = '\ud800'",
    "year COLLATE evil",
    "year = 1 COLLATE",
    "year IN",
    "year IN ()x",
    "year BETWEEN 1",
    "CASE WHEN",
    "contains(year)",
    "contains('x', 'y')",
    "contains(",
    "contains(genres, 'a', 'b')",
    "length()",
    "length(1, 2, 3)",
    "abs(-9223372036854775807 - 1)",
    "(" * 5000 + "1" + ")" * 5000,
    "+".join(["1"] * 5000),
    "not " * 5000 + "1",
    "1" * 5000,
    "year = " + "9" * 400_000,
    "year = '" + "x" * 2_000_000 + "'",
    None,
    5,
    b"year = 1",
    ["year = 1"],
    ("year = 1",),
    ("year = 1", (), ()),
    ("year = ?", ()),
    ("year = ?", (1, 2)),
    ("year = ?", "1"),
    ("year = ?", 1),
    ("year = :a", {"b": 1}),
    ("year = :a", {"a": 1, "b": 2}),
    ("year = :a", (1,)),
    ("year = ?", (b"x",)),
    ("year = ?", (object(),)),
    ("year = ?", (2**63,)),
    ("year = ?", (float("nan"),)),
    ("year IN ?", ([[1]],)),
    ("year = ?", ("\ud800",)),
]


@pytest.mark.parametrize("where", ATTACKS, ids=lambda where: repr(where)[:40])
def test_what_is_no_condition_is_refused_and_runs_nothing(db: Collection, where: Any, tmp_path: Path) -> None:
    if where is None:
        pytest.skip("None is no condition at all")
    before = {file.name for file in tmp_path.iterdir()}
    for hybrid in (False, True):
        with pytest.raises(ArgumentError, match=r"where|field"):
            db.search("anything", where=where, hybrid=hybrid)
    assert {file.name for file in tmp_path.iterdir()} == before
    assert db.check()
    assert len(db) == 5


def test_the_readers_connection_refuses_by_itself(db: Collection) -> None:
    """The second line of defence, were the first one passed."""
    for sql in (
        "DELETE FROM records", "INSERT INTO removed VALUES (9, 9)", "DROP TABLE records", "ATTACH 'x' AS x",
        "SELECT load_extension('x')", "SELECT randomblob(9)", "PRAGMA writable_schema = 1", "PRAGMA query_only = OFF",
        "UPDATE sqlite_master SET sql = ''", "CREATE TABLE x(y)",
        "WITH RECURSIVE a(x) AS (SELECT 1 UNION ALL SELECT x FROM a) SELECT * FROM a",
    ):  # fmt: skip
        with db._store.reading() as connection, pytest.raises(sqlite3.Error):
            connection.execute(sql)
    assert db.check()


fragments = st.sampled_from(
    ["year", "genre", "'drama'", "1990", ">", "=", "AND", "OR", "NOT", "(", ")", ",", "IN", "--", ";", "SELECT", "/*",
     "*", "||", "%", ".", "?", ":a", '"', "'", "contains(", "length(", "NULL", "IS", "LIKE", " ", "CASE", "END", "~"]
)  # fmt: skip


@settings(max_examples=150, deadline=None)
@given(
    st.one_of(st.lists(fragments, max_size=12).map(" ".join), st.lists(fragments, max_size=12).map("".join), st.text())
)
def test_any_text_gives_a_condition_of_listed_tokens_or_is_refused(text: str) -> None:
    try:
        condition = compile_where(text, {("year",): "field_year"})
    except ArgumentError:
        return
    for forbidden in (";", "--", "/*", "'", '"', "DROP", "PRAGMA"):
        assert forbidden not in condition.sql
    assert condition.sql.count("(") == condition.sql.count(")")
    assert sqlite3.complete_statement(condition.sql) is False


def test_indexed_fields_use_their_index_and_new_ones_can_come_later(open_db: Open, films: Films) -> None:
    with open_db() as db:
        db.add(films)
    db = open_db(indexed=("year", "director.name"))
    assert db.indexed == ("year", "director.name")
    assert selected(db, "year = 1958 AND director.name = 'Sturges'") == {"tt4"}
    condition = compile_where("year >= 1990", db._settings.columns)
    with db._store.writing() as connection:
        plan = connection.execute(f"EXPLAIN QUERY PLAN SELECT key FROM records WHERE {condition.sql}").fetchall()
    assert "records_by_field_year" in str(plan)


def test_the_remembered_condition_follows_changes(open_db: Open, films: Films) -> None:
    db = open_db()
    db.add(films)
    assert selected(db, "year > 1992") == {"tt1", "tt2"}
    db.upsert({"id": "tt2", "text": "x", "year": 1000})
    db.add({"id": "tt9", "text": "x", "year": 2000})
    assert selected(db, "year > 1992") == {"tt1", "tt9"}
    for year in range(50):
        assert selected(db, f"year = {year}") == set()
    assert len(db._searcher._allowed) <= 16
