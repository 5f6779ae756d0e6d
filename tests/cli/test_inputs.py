from __future__ import annotations

import datetime
import decimal
import gzip
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from semblance import ArgumentError, FormatError
from semblance.inputs import Fields, read_items, vector_dim

RECORDS = [{"id": "a", "text": "x ü", "n": 1}, {"id": "b", "text": "y", "n": None, "deep": {"list": [1, 2.5]}}]


def records(path: Path | str) -> list[Any]:
    return [item.record for item in read_items(str(path))]


@pytest.mark.parametrize("name", ["a.jsonl", "a.ndjson", "a.jsonl.gz", "a.json", "a.json.gz"])
@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"])
def test_json(tmp_path: Path, name: str, mark: bytes) -> None:
    if ".json." in name or name.endswith(".json"):
        content = json.dumps(RECORDS).encode()
    else:
        content = b"\n" + "\r\n\n".join(json.dumps(record) for record in RECORDS).encode()
    content = mark + content if not content.startswith(b"\n") else content
    (tmp_path / name).write_bytes(gzip.compress(content) if name.endswith(".gz") else content)
    assert records(tmp_path / name) == RECORDS


def test_places_and_problems_of_json_lines(tmp_path: Path) -> None:
    content = b'{"id": 1}\n\nnot json\n[1]\n"text"\n{"id": 2\n\xff\xfe\n' + b"[" * 100_000 + b'\n{"id": 3}'
    (tmp_path / "a.jsonl").write_bytes(content)
    items = list(read_items(str(tmp_path / "a.jsonl")))
    assert [item.record for item in items] == [{"id": 1}, None, None, None, None, None, None, {"id": 3}]
    assert [item.place.rsplit(":", 1)[1] for item in items] == ["1", "3", "4", "5", "6", "7", "8", "9"]
    assert all(item.problem and "expected a JSON object, got" in item.problem for item in items[1:-1])
    assert 0 < items[0].done <= items[-1].done == 1.0


def test_csv_types_places_and_quotes(tmp_path: Path) -> None:
    rows = ['1,"a, ""b""\nc",1999,-2.5,007,123456789012345678901', "2,d,,1e3,1.,-0", "3,e", "", "4,f,1,2,3,4,5"]
    text = "\n".join(["id,text,year,score,code,big", *rows, "5,g,1,2,3,4\n"])
    (tmp_path / "a.csv").write_text(text)
    items = list(read_items(str(tmp_path / "a.csv")))
    big = "123456789012345678901"
    assert items[0].record == {"id": "1", "text": 'a, "b"\nc', "year": 1999, "score": -2.5, "code": "007", "big": big}
    assert items[1].record == {"id": "2", "text": "d", "year": None, "score": 1000.0, "code": 1.0, "big": 0}
    assert (items[2].place, items[2].problem) == (f"{tmp_path}/a.csv:5", "expected 6 columns, got 2")
    assert (items[3].place, items[3].problem) == (f"{tmp_path}/a.csv:7", "expected 6 columns, got 7")
    assert items[4].record is not None
    (tmp_path / "a.tsv").write_text("id\ttext\n1\tx,y\n")
    assert records(tmp_path / "a.tsv") == [{"id": "1", "text": "x,y"}]


def test_parquet(tmp_path: Path) -> None:
    pyarrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    rows = [
        {"id": "a", "text": "x", "day": datetime.date(2020, 1, 2), "price": decimal.Decimal("1.50"), "v": [1.0, 2.0]},
        {"id": "b", "text": None, "day": None, "price": None, "v": None},
    ]
    parquet.write_table(pyarrow.Table.from_pylist(rows), tmp_path / "a.parquet")
    assert records(tmp_path / "a.parquet") == [
        {"id": "a", "text": "x", "day": "2020-01-02", "price": 1.5, "v": [1.0, 2.0]},
        {"id": "b", "text": None, "day": None, "price": None, "v": None},
    ]
    content = (tmp_path / "a.parquet").read_bytes()
    (tmp_path / "b.parquet").write_bytes(content[: len(content) // 2])
    with pytest.raises(FormatError, match=r"b\.parquet: expected a whole Parquet file"):
        records(tmp_path / "b.parquet")


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_matrices(tmp_path: Path, dtype: type) -> None:
    matrix = np.arange(6, dtype=dtype).reshape(3, 2)
    np.save(tmp_path / "a.npy", matrix)
    found = records(tmp_path / "a.npy")
    assert [record["id"] for record in found] == [0, 1, 2]
    np.testing.assert_array_equal(np.stack([record["vector"] for record in found]), matrix)
    assert vector_dim([str(tmp_path / "a.npy")], Fields()) == 2


@pytest.mark.parametrize("array", [np.ones(3), np.ones((2, 2), int), np.ones((2, 0)), np.array([object()])])
def test_arrays_that_are_no_matrix_of_floats(tmp_path: Path, array: np.ndarray) -> None:
    np.save(tmp_path / "a.npy", array)
    with pytest.raises(FormatError, match=r"a\.npy: expected"):
        records(tmp_path / "a.npy")


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.jsonl.gz", b"no gzip", "expected a whole gzip file"),
        ("a.jsonl.gz", gzip.compress(b'{"id": 1}\n' * 1000)[:-20], "expected a whole gzip file"),
        ("a.json", b'{"id": 1}', "expected a JSON list, got dict"),
        ("a.json", b"{", "expected a JSON list"),
        ("a.csv", b"a,a\n1,2\n", "expected a header of distinct column names"),
        ("a.csv", b'a,b\n"1,2\n', "expected CSV"),
        ("a.npy", b"\x93NUMPY", "expected a NumPy file"),
        ("a.npy", b"", "expected a NumPy file"),
        ("a.parquet", b"PAR1", "expected a whole Parquet file"),
        ("a.txt", b"x", "expected a file named"),
        ("a.npy.gz", b"x", "expected a file named"),
        ("a", b"x", "expected a file named"),
    ],
)
def test_files_that_are_damaged_or_of_another_kind(tmp_path: Path, name: str, content: bytes, message: str) -> None:
    if "parquet" in name:
        pytest.importorskip("pyarrow")
    (tmp_path / name).write_bytes(content)
    with pytest.raises((ArgumentError, FormatError), match=message):
        records(tmp_path / name)


def test_missing_files_and_folders(tmp_path: Path) -> None:
    with pytest.raises(ArgumentError, match="expected a file, got nothing there"):
        records(tmp_path / "a.jsonl")
    (tmp_path / "b.jsonl").mkdir()
    with pytest.raises(ArgumentError, match="expected a file, got a folder"):
        records(tmp_path / "b.jsonl")


def test_fields(lines: Callable[..., str]) -> None:
    source = {"_id": "7", "title": "T", "body": "B", "year": 1}
    file = lines("a.jsonl", [source, {"_id": "8", "body": "C"}, {"_id": 9, "title": 5}, {"x": 1}])
    items = list(read_items(file))
    assert Fields("_id", ("title",)).record_of(items[0]) == {"id": "7", "text": "T", "body": "B", "year": 1}
    joined = Fields("_id", ("title", "body"))
    assert joined.record_of(items[0])["text"] == "T\nB"
    assert joined.record_of(items[1]) == {"id": "8", "text": "C", "body": "C"}
    with pytest.raises(ArgumentError, match=r"a.jsonl:3: expected text in the fields"):
        joined.record_of(items[2])
    with pytest.raises(ArgumentError, match=r"a.jsonl:4: expected a field '_id', got \['x'\] .*--auto-id"):
        joined.record_of(items[3])
    assert Fields(number=True).record_of(items[3])["id"] == f"{file}:4"
    with pytest.raises(ArgumentError, match="expected one field for id, got another"):
        Fields("_id").record_of(items[0]._replace(record={"_id": 1, "id": 2}))
