"""The tables of a collection's SQLite file, and how the file is recognised."""

from __future__ import annotations

import json
import re
import sqlite3
from dataclasses import asdict, dataclass, field
from typing import Any

from ..errors import ArgumentError, FormatError
from .where import Path, field_path, json_path

APPLICATION_ID = 0x53454D42  # "SEMB", at bytes 68-71 of the file
SCHEMA_VERSION = 1

# key      int64 id in the vector index; never used twice (AUTOINCREMENT)
# id       the user's id; no type affinity, so that 1 and '1' stay two ids
# sequence one number per change, growing; what an index file lacks is what came after its sequence
# removed  tombstones for index copies that still hold the key; those up to clock.removed_below are pruned
_TABLES = """
CREATE TABLE settings(name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE clock(
  one INTEGER PRIMARY KEY CHECK (one = 1), sequence INTEGER NOT NULL, removed_below INTEGER NOT NULL);
INSERT INTO clock VALUES (1, 0, 0);
CREATE TABLE records(
  key INTEGER PRIMARY KEY AUTOINCREMENT, id NOT NULL UNIQUE, text TEXT, fields TEXT NOT NULL,
  sequence INTEGER NOT NULL);
CREATE INDEX records_by_sequence ON records(sequence);
CREATE TABLE vectors(key INTEGER PRIMARY KEY, vector BLOB NOT NULL);
CREATE TABLE removed(sequence INTEGER PRIMARY KEY, key INTEGER NOT NULL);
CREATE TABLE checkpoints(number INTEGER PRIMARY KEY AUTOINCREMENT, stamp TEXT NOT NULL UNIQUE);
CREATE VIRTUAL TABLE words USING fts5(
  text, content='records', content_rowid='key', tokenize='porter unicode61 remove_diacritics 2');
CREATE TRIGGER words_insert AFTER INSERT ON records BEGIN
  INSERT INTO words(rowid, text) VALUES (new.key, new.text);
END;
CREATE TRIGGER words_delete AFTER DELETE ON records BEGIN
  INSERT INTO words(words, rowid, text) VALUES ('delete', old.key, old.text);
  DELETE FROM vectors WHERE key = old.key;
END;
CREATE TRIGGER words_update AFTER UPDATE OF text ON records BEGIN
  INSERT INTO words(words, rowid, text) VALUES ('delete', old.key, old.text);
  INSERT INTO words(rowid, text) VALUES (new.key, new.text);
END;
"""


@dataclass
class Settings:
    """What a collection was made with; kept in the table ``settings``."""

    dim: int
    metric: str
    encoder: str | None = None  # fingerprint of the encoder that made the vectors
    encoder_source: str | None = None  # folder, file or name to load that encoder from; None is the embedded default
    index_options: dict[str, Any] = field(default_factory=dict)
    indexed: list[str] = field(default_factory=list)  # names of the fields that have a column and an SQL index

    @property
    def columns(self) -> dict[Path, str]:
        """Column of each indexed field."""
        return {field_path(name): column_name(field_path(name)) for name in self.indexed}


def column_name(path: Path) -> str:
    """Return the generated column's name: readable where the field's name is, hexadecimal where it is not."""
    if len(path) == 1 and re.fullmatch("[a-z0-9_]+", path[0]):
        return f"field_{path[0]}"
    return "path_" + json_path(path).encode().hex()


def is_new(connection: sqlite3.Connection, path: str) -> bool:
    """Return whether the file holds nothing yet; raise FormatError where it is foreign or newer."""
    application = connection.execute("PRAGMA application_id").fetchone()[0]
    version = connection.execute("PRAGMA user_version").fetchone()[0]
    tables = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]
    if application == 0 and version == 0 and tables == 0:
        return True
    if application != APPLICATION_ID:
        raise FormatError(f"{path}: expected a semblance collection, got another SQLite database")
    if not 1 <= version <= SCHEMA_VERSION:
        raise FormatError(f"{path}: expected schema version up to {SCHEMA_VERSION}, got {version} (upgrade semblance)")
    return False


def create(connection: sqlite3.Connection, settings: Settings) -> None:
    """Make the tables, inside the caller's transaction."""
    for statement in _statements(_TABLES):
        connection.execute(statement)
    save_settings(connection, settings)
    connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
    connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")


def save_settings(connection: sqlite3.Connection, settings: Settings) -> None:
    """Write every setting."""
    rows = [(name, json.dumps(value)) for name, value in asdict(settings).items()]
    connection.executemany("INSERT OR REPLACE INTO settings VALUES (?, ?)", rows)


def load_settings(connection: sqlite3.Connection, path: str) -> Settings:
    """Read the settings back; raise FormatError where they are damaged."""
    try:
        stored = {name: json.loads(value) for name, value in connection.execute("SELECT * FROM settings")}
        settings = Settings(**stored)
    except (TypeError, ValueError) as error:
        raise FormatError(f"{path}: settings: expected those of a collection, got {error}") from error
    if wrong := _ill_typed(settings):
        raise FormatError(f"{path}: settings: expected those of a collection, got {wrong}")
    return settings


def _ill_typed(settings: Settings) -> str:
    """Name the first setting that is of a type that no collection stores; the empty string where there is none."""
    types: dict[str, tuple[type, ...]] = {
        "dim": (int,), "metric": (str,), "encoder": (str, type(None)), "encoder_source": (str, type(None)),
        "index_options": (dict,), "indexed": (list,),
    }  # fmt: skip
    wrong = [name for name, allowed in types.items() if not isinstance(getattr(settings, name), allowed)]
    wrong += [f"indexed {name!r}" for name in settings.indexed if "indexed" not in wrong and not isinstance(name, str)]
    return f"{wrong[0]} of another type" if wrong else ""


def add_columns(connection: sqlite3.Connection, settings: Settings, indexed: tuple[str, ...]) -> bool:
    """Give each field a generated column with an SQL index, inside the caller's transaction; True if any was new."""
    new = [name for name in dict.fromkeys(indexed) if name not in settings.indexed]
    for name in new:
        path = field_path(name)
        if path in (("id",), ("text",), ("vector",)):
            raise ArgumentError(f"indexed: expected the record's own fields, got {name!r}")
        column, text = column_name(path), json_path(path).replace("'", "''")
        expression = f"GENERATED ALWAYS AS (json_extract(fields, '{text}')) VIRTUAL"
        connection.execute(f"ALTER TABLE records ADD COLUMN {column} {expression}")
        connection.execute(f"CREATE INDEX records_by_{column} ON records({column})")
    settings.indexed.extend(new)
    if new:
        save_settings(connection, settings)
    return bool(new)


def _statements(script: str) -> list[str]:
    """Split the script at the statements' ends (a trigger has semicolons inside)."""
    statements, lines = [], ""
    for line in script.strip().splitlines():
        lines += line + "\n"
        if sqlite3.complete_statement(lines):
            statements.append(lines)
            lines = ""
    return statements
