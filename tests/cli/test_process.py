"""The command as a process of its own: exit codes, streams, Ctrl-C."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from semblance.collection import Collection

COMMAND = [sys.executable, "-m", "semblance.cli"]
HEARING = """
import signal
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell may start its background jobs deaf to it
from semblance.cli import main
main()
"""


def run(*arguments: str, code: int = 0) -> subprocess.CompletedProcess[str]:
    result = subprocess.run([*COMMAND, *arguments], capture_output=True, text=True, check=False)
    assert result.returncode == code, result.stderr
    return result


@pytest.fixture
def big(tmp_path: Path) -> str:
    chance = random.Random(1)
    with open(tmp_path / "big.jsonl", "w") as stream:
        for n in range(20_000):
            record = {"id": n, "vector": [chance.uniform(-1, 1) for _ in range(8)], "n": n}
            stream.write(json.dumps(record) + "\n")
    return str(tmp_path / "big.jsonl")


def test_ctrl_c_leaves_every_whole_batch(tmp_path: Path, big: str) -> None:
    db = str(tmp_path / "items.db")
    command = [sys.executable, "-c", HEARING, "index", big, "--db", db, "--batch", "50"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    while process.poll() is None and not (os.path.exists(db + "-wal") and os.path.getsize(db + "-wal") > 300_000):
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    output, errors = process.communicate()
    assert process.returncode == 130, errors
    assert output == ""
    assert errors.splitlines()[-1] == "semblance: interrupted"
    assert "Traceback" not in errors
    with Collection.open(db) as collection:
        count = len(collection)
        assert 0 < count < 20_000
        assert count % 50 == 0
        assert collection.ids() == list(range(count))
        assert f"holds {count} records" in errors
        assert collection.check()


def test_json_goes_to_stdout_and_everything_else_to_stderr(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"id": 1, "vector": [1, 0]}\n{"id": 2, "vector": [0, 1], "year": 3}\n')
    db = str(tmp_path / "items.db")
    result = run("index", str(tmp_path / "a.jsonl"), "--db", db, "--json")
    assert json.loads(result.stdout)["total"] == 2
    assert result.stderr == ""
    result = run("search", db, "x", code=1)
    assert result.stdout == ""
    assert result.stderr.count("\n") == 1
    run("search", db, code=2)


def test_a_closed_pipe_is_no_traceback(tmp_path: Path) -> None:
    script = f"{sys.executable} -m semblance.cli doctor | true"
    result = subprocess.run(["bash", "-c", script], capture_output=True, text=True, check=False)
    assert "Traceback" not in result.stderr
