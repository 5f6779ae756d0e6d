"""Records from files: JSON Lines, JSON, CSV, Parquet and NumPy matrices, each with the place it came from."""

from __future__ import annotations

import csv
import gzip
import io
import json
import os
import re
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import IO, Any, NamedTuple

import numpy as np

from .errors import ArgumentError, FormatError, UnsupportedError

MAX_LINE_BYTES = 1 << 26
SUFFIXES = (".jsonl", ".ndjson", ".json", ".csv", ".tsv", ".parquet", ".npy")
_INTEGER = re.compile(r"-?(0|[1-9]\d{0,17})")
_REAL = re.compile(r"-?(\d+\.\d*|\.\d+|\d+(?=[eE]))([eE][+-]?\d{1,3})?")


class Item(NamedTuple):
    """A record as the file has it, or why there is none; ``done`` is the part of the file read so far, 0 to 1."""

    place: str
    record: dict[str, Any] | None
    problem: str | None
    done: float


@dataclass(frozen=True)
class Fields:
    """Which fields of a file are the record's id, text and vector."""

    id: str = "id"
    text: Sequence[str] = field(default=("text",))
    vector: str = "vector"
    number: bool = False  # the place of the record is its id

    def record_of(self, item: Item) -> dict[str, Any]:
        """Return the item's record under the names that a collection knows; raise ArgumentError with its place."""
        if item.record is None:
            raise ArgumentError(f"{item.place}: {item.problem}")
        source = dict(item.record)
        record: dict[str, Any] = {}
        if self.number:
            record["id"] = item.place
        elif self.id in source:
            record["id"] = source.pop(self.id)
        else:
            hint = "--id-field names another field, --auto-id numbers the records"
            raise ArgumentError(f"{item.place}: expected a field {self.id!r}, got {sorted(source)[:10]} ({hint})")
        if self.vector in source:
            record["vector"] = source.pop(self.vector)
        text = self._text_of(source, item.place)
        if text is not None:
            record["text"] = text
        for name in ("id", "text", "vector"):
            if name in source:
                raise ArgumentError(f"{item.place}: expected one field for {name}, got another that is named {name!r}")
        return {**record, **source}

    def _text_of(self, source: dict[str, Any], place: str) -> Any:
        """Take the text out of the fields; several are joined, and those not named text stay as fields too."""
        if len(self.text) == 1:
            return source.pop(self.text[0], None)
        parts = [source.get(name) for name in self.text]
        if not all(part is None or isinstance(part, str) for part in parts):
            raise ArgumentError(f"{place}: expected text in the fields {list(self.text)}, got something else")
        source.pop("text", None)
        return "\n".join(part for part in parts if part) or None


def read_items(path: str) -> Iterator[Item]:
    """Yield the records of a file, and the places where it has something else.

    Parameters
    ----------
    path : str
        Its name says what it is: ``.jsonl``, ``.ndjson``, ``.json`` (a list), ``.csv``, ``.tsv`` (any of them with
        ``.gz``), ``.parquet`` (needs pyarrow) or ``.npy`` (a float matrix (n, d): vectors with the ids 0 to n-1).

    Raises
    ------
    ArgumentError
        The file is missing, cannot be read, or its name says none of these.
    FormatError
        The file as a whole is damaged; a bad record is an `Item` with a problem.
    """
    name = path[:-3] if path.endswith(".gz") else path
    suffix = os.path.splitext(name)[1].lower()
    if suffix not in SUFFIXES or (path.endswith(".gz") and suffix in (".parquet", ".npy")):
        raise ArgumentError(f"{path}: expected a file named {', '.join(SUFFIXES)} or .gz of a text form, got another")
    if not os.path.isfile(path):
        raise ArgumentError(f"{path}: expected a file, got {'a folder' if os.path.isdir(path) else 'nothing there'}")
    try:
        if suffix == ".parquet":
            yield from _parquet(path)
        elif suffix == ".npy":
            yield from _matrix(path)
        else:
            yield from _text_file(path, suffix)
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise FormatError(f"{path}: expected a whole gzip file, got {error}") from error
    except OSError as error:
        raise ArgumentError(f"{path}: expected a file that can be read, got {error.strerror or error}") from error


def _text_file(path: str, suffix: str) -> Iterator[Item]:
    with open(path, "rb") as raw:
        size = max(os.fstat(raw.fileno()).st_size, 1)
        stream: IO[bytes] = gzip.GzipFile(fileobj=raw) if path.endswith(".gz") else raw  # type: ignore[assignment]
        reader = {".json": _json_list, ".csv": _csv, ".tsv": _csv}.get(suffix, _json_lines)
        for place, record, problem in reader(path, stream):
            yield Item(place, record, problem, min(raw.tell() / size, 1.0))


_Found = tuple[str, dict[str, Any] | None, str | None]


def _json_lines(path: str, stream: IO[bytes]) -> Iterator[_Found]:
    number = 0
    while line := stream.readline(MAX_LINE_BYTES):
        number += 1
        place = f"{path}:{number}"
        if len(line) == MAX_LINE_BYTES and not line.endswith(b"\n"):
            raise FormatError(f"{place}: expected lines of at most {MAX_LINE_BYTES} bytes, got a longer one")
        if line.strip():
            yield (place, *_parsed(line))


def _parsed(line: bytes) -> tuple[dict[str, Any] | None, str | None]:
    try:
        record = json.loads(line.decode("utf-8-sig"))
    except (ValueError, RecursionError) as error:
        return None, f"expected a JSON object, got {line[:60].decode(errors='replace').strip()!r} ({error})"
    if not isinstance(record, dict):
        return None, f"expected a JSON object, got {line[:60].decode(errors='replace').strip()!r}"
    return record, None


def _json_list(path: str, stream: IO[bytes]) -> Iterator[_Found]:
    try:
        records = json.loads(stream.read().decode("utf-8-sig"))
    except (ValueError, RecursionError) as error:
        raise FormatError(f"{path}: expected a JSON list, got {error} (JSON Lines are named .jsonl)") from error
    if not isinstance(records, list):
        raise FormatError(f"{path}: expected a JSON list, got {type(records).__name__} (JSON Lines are named .jsonl)")
    for at, record in enumerate(records):
        good = isinstance(record, dict)
        yield f"{path}[{at}]", record if good else None, None if good else f"expected an object, got {record!r:.60}"


def _csv(path: str, stream: IO[bytes]) -> Iterator[_Found]:
    csv.field_size_limit(MAX_LINE_BYTES)
    delimiter = "\t" if path.removesuffix(".gz").lower().endswith(".tsv") else ","
    with io.TextIOWrapper(stream, "utf-8-sig", errors="surrogateescape", newline="") as text:
        rows = csv.reader(text, delimiter=delimiter, strict=True)
        try:
            header = next(rows, [])
            if len(set(header)) != len(header) or not all(header):
                raise FormatError(f"{path}:1: expected a header of distinct column names, got {header}")
            for row in rows:
                place = f"{path}:{rows.line_num}"
                if len(row) == len(header):
                    yield place, _typed(header, row), None
                elif row:
                    yield place, None, f"expected {len(header)} columns, got {len(row)}"
        except csv.Error as error:
            raise FormatError(f"{path}:{rows.line_num}: expected CSV, got {error}") from error


def _typed(header: Sequence[str], row: Sequence[str]) -> dict[str, Any]:
    """Return the row with numbers as numbers and empty cells as None; an id stays text."""
    return {
        name: cell if name.lower() in ("id", "_id") else _cell(cell) for name, cell in zip(header, row, strict=True)
    }


def _cell(cell: str) -> Any:
    if not cell:
        return None
    if _INTEGER.fullmatch(cell):
        return int(cell)
    return float(cell) if _REAL.fullmatch(cell) else cell


def _parquet(path: str) -> Iterator[Item]:
    try:
        import pyarrow  # type: ignore[import-untyped]
        import pyarrow.parquet  # type: ignore[import-untyped]
    except ImportError as error:
        raise UnsupportedError(
            f"{path}: expected pyarrow for Parquet, got none (pip install 'semblance[parquet]')"
        ) from error
    try:
        with pyarrow.parquet.ParquetFile(path) as file:
            total, number = max(file.metadata.num_rows, 1), 0
            for batch in file.iter_batches(batch_size=1024):
                for row in batch.to_pylist():
                    yield Item(f"{path}: row {number}", _plain(row), None, number / total)
                    number += 1
    except pyarrow.ArrowException as error:
        raise FormatError(f"{path}: expected a whole Parquet file, got {error}") from error


def _plain(value: Any) -> Any:
    """Return dates as ISO text and decimals as floats; JSON has neither."""
    if isinstance(value, dict):
        return {name: _plain(item) for name, item in value.items()}
    if isinstance(value, list):
        return [_plain(item) for item in value]
    if hasattr(value, "isoformat"):
        return value.isoformat()
    return float(value) if type(value).__name__ == "Decimal" else value


def _matrix(path: str) -> Iterator[Item]:
    try:
        matrix = np.load(path, mmap_mode="r", allow_pickle=False)
    except (ValueError, EOFError) as error:
        raise FormatError(f"{path}: expected a NumPy file of floats, got {error}") from error
    if matrix.ndim != 2 or matrix.dtype.kind != "f" or not matrix.shape[1]:
        raise FormatError(f"{path}: expected floats of shape (n, d), got {matrix.dtype} of shape {matrix.shape}")
    for number, row in enumerate(matrix):
        yield Item(f"{path}: row {number}", {"id": number, "vector": np.array(row)}, None, number / len(matrix))


def vector_dim(paths: Sequence[str], fields: Fields) -> int | None:
    """Return the dimensions d where the first record has a vector and no text, else None."""
    for path in paths:
        for item in read_items(path):
            record = item.record or {}
            vector = record.get(fields.vector)
            bare = isinstance(vector, list | np.ndarray) and not any(record.get(name) for name in fields.text)
            return len(vector) or None if bare and vector is not None else None
    return None
