from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

import semblance
from semblance.collection import Collection
from semblance.commands import app

Lines = Callable[..., str]
FILMS = [
    {"id": "tt1", "text": "a ship sinks in the cold sea", "year": 1997},
    {"id": "tt2", "text": "dinosaurs escape", "year": 1993, "[bold]odd": "[red]x"},
    {"id": "tt3", "text": "the old man and the sea", "year": 1958},
]


@pytest.fixture
def db(tmp_path: Path) -> str:
    return str(tmp_path / "items.db")


def run(*arguments: str, code: int = 0, stdin: str | None = None) -> Any:
    result = CliRunner().invoke(app, list(arguments), input=stdin)
    assert result.exit_code == code, result.output
    assert "Traceback" not in result.output
    return result


def found(*arguments: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in run("search", *arguments, "--json").stdout.splitlines()]


@pytest.mark.usefixtures("hash_encoder")
def test_index_search_check(lines: Lines, db: str) -> None:
    file = lines("films.jsonl", FILMS)
    result = run("index", file, "--db", db, "--indexed", "year")
    assert re.fullmatch(r"3 records in \d+\.\d s; .*items\.db holds 3\n", result.stdout)
    answer = found(db, "ship sea", "-k", "2")[0]
    assert answer["query"] == "ship sea"
    assert [hit["id"] for hit in answer["hits"]] == ["tt1", "tt3"]
    assert answer["hits"][0]["record"] == FILMS[0]
    assert [hit["id"] for hit in found(db, "sea", "--where", "year < 1960")[0]["hits"]] == ["tt3"]
    assert [answer["query"] for answer in found(db, "sea", "ship", "--hybrid")] == ["sea", "ship"]
    text = run("search", db, "sea").stdout
    assert "tt1" in text
    assert "[red]x" in text
    assert run("search", db, "sea", "--where", "year > 3000").stdout == "sea: nothing found\n"
    assert run("search", db, "-", "--json", stdin="sea\n\nship\n").stdout.count("\n") == 2
    assert run("check", db).stdout == f"{db}: 3 records, 0 problems\n"
    assert json.loads(run("check", db, "--json").stdout) == {"db": db, "records": 3, "problems": []}


@pytest.mark.usefixtures("hash_encoder")
def test_indexing_again_replaces(lines: Lines, db: str) -> None:
    run("index", lines("a.jsonl", FILMS), "--db", db)
    result = run("index", lines("b.jsonl", [{**FILMS[0], "year": 5}]), "--db", db, "--json")
    summary = json.loads(result.stdout)
    assert (summary["records"], summary["skipped"], summary["total"]) == (1, 0, 3)
    assert found(db, "ship", "-k", "1")[0]["hits"][0]["record"]["year"] == 5


@pytest.mark.usefixtures("hash_encoder")
def test_bad_lines_are_named_or_skipped_and_counted(lines: Lines, db: str, tmp_path: Path) -> None:
    file = lines("a.jsonl", [FILMS[0], FILMS[1]])
    with open(file, "a") as stream:
        stream.write('{"id": "bad", "text": 5}\nnot json\n{"text": "no id"}\n' + json.dumps(FILMS[2]) + "\n")
    result = run("index", file, "--db", db, code=1)
    assert result.stdout == ""
    assert result.stderr == f"semblance: {file}:3['text']: expected text, got int\n"
    summary = json.loads(run("index", file, "--db", db, "--skip-bad", "--json").stdout)
    assert (summary["records"], summary["skipped"], summary["total"]) == (3, 3, 3)
    assert run("check", db)


def test_vectors_need_no_encoder(lines: Lines, db: str, tmp_path: Path) -> None:
    file = lines(
        "a.jsonl", [{"id": 1, "vector": [1, 0], "n": 1}, {"id": 2, "vector": [0, 1]}, {"id": 3, "vector": [0, 0]}]
    )
    result = run("index", file, "--db", db, code=1)
    assert "a.jsonl:3: expected a vector that is not zero under cosine" in result.stderr
    run("index", file, "--db", db, "--skip-bad")
    result = run("search", db, "text", code=1)
    assert (
        result.stderr == "semblance: query: expected vectors, got text (the collection was made without an encoder)\n"
    )
    for name in ("m.npy", "n.npy"):
        np.save(tmp_path / name, np.eye(3, 4, dtype=np.float16))
    run("index", str(tmp_path / "m.npy"), str(tmp_path / "n.npy"), "--db", db + "2")
    with Collection.open(db + "2") as collection:
        assert collection.ids() == list(range(6))
        assert collection.search([0, 1, 0, 0], k=2)[0].score == pytest.approx(1.0)


@pytest.mark.usefixtures("hash_encoder")
def test_errors_are_one_line_and_exit_code_1(lines: Lines, db: str, tmp_path: Path) -> None:
    good = lines("a.jsonl", FILMS)
    run("index", good, "--db", db)
    (tmp_path / "foreign.db").write_text("x" * 5000)
    for arguments, message in (
        (("index", str(tmp_path / "none.jsonl"), "--db", db), "expected a file, got nothing there"),
        (("index", good, "--db", str(tmp_path / "no" / "x.db")), "expected an existing folder"),
        (("index", good, "--db", str(tmp_path / "foreign.db")), "expected a whole SQLite database"),
        (("index", good, "--db", db, "--indexed", 'a"b'), "field: expected a name"),
        (("search", str(tmp_path / "none.db"), "x"), "expected a collection, got nothing there"),
        (("search", str(tmp_path), "x"), "expected a collection, got a folder"),
        (("search", db, "x", "--where", "1; DROP TABLE records"), "where: expected a condition"),
        (("search", db, "x", "--where", "year >"), "where: expected an SQL condition"),
        (("check", str(tmp_path / "foreign.db")), "expected a whole SQLite database"),
    ):
        result = run(*arguments, code=1)
        assert message in result.stderr
        assert re.fullmatch(r"semblance: [^\n]+\n", result.stderr)
        assert result.stdout == ""
    assert not (tmp_path / "none.db").exists()


def test_usage_errors_exit_with_2(lines: Lines, db: str) -> None:
    for arguments in ((), ("none",), ("index",), ("index", "a.jsonl"), ("search", db), ("search", db, "x", "-k", "0")):
        run(*arguments, code=2)
    assert run("--version").stdout == semblance.__version__ + "\n"
    for command in ("index", "search", "check", "distill", "doctor"):
        assert "--help" in run(command, "--help").stdout


def test_doctor() -> None:
    report = json.loads(run("doctor", "--json").stdout)
    assert report["semblance"] == semblance.__version__
    assert report["isa_in_use"] in report["isa_available"]
    assert "FTS5" in report["sqlite"]
    for name in ("onnxruntime", "onnx_providers", "gpu", "python", "numpy"):
        assert name in report
    text = run("doctor").stdout
    assert "isa in use" in text
    assert report["isa_in_use"] in text


def test_a_damaged_index_is_reported_by_check(db: str, lines: Lines) -> None:
    run("index", lines("a.jsonl", [{"id": n, "vector": [n, 1]} for n in range(20)]), "--db", db)
    with open(db + ".index", "r+b") as stream:
        stream.seek(-70, os.SEEK_END)
        stream.write(b"damage")
    assert "20 records, 0 problems" in run("check", db).stdout  # rebuilt from the records


def test_without_typer_the_extra_is_named(tmp_path: Path) -> None:
    (tmp_path / "typer.py").write_text("raise ImportError('none', name='typer')")
    environment = {**os.environ, "PYTHONPATH": f"{tmp_path}{os.pathsep}{os.environ.get('PYTHONPATH', '')}"}
    command = [sys.executable, "-m", "semblance.cli", "doctor"]
    result = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    assert result.returncode == 1
    assert result.stderr == "semblance: expected typer and rich, got no typer (pip install 'semblance[cli]')\n"
