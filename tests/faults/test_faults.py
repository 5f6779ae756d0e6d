"""A few of each of the long trials (``run.py``), and the proof that the harness sees what it looks for."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import fuzz_calls
import fuzz_files
import limits
import numpy as np
import pytest
from cycles import CYCLES, growth
from damages import BY_CHANCE, BY_INTENT
from harness import Tally, Worker, damage_trials
from io_faults import broken, build, io_trials, prepare
from kills import collection_fault, index_fault, kill_trials
from stops import LATE_S, index_calls, lateness
from trials import equal
from victims import VICTIMS

import semblance as sb

pytestmark = pytest.mark.once

on_linux = pytest.mark.skipif(sys.platform != "linux", reason="needs Linux's /proc and LD_PRELOAD")


@pytest.mark.parametrize("kind", VICTIMS)
def test_damaged_files_are_refused_or_answered_right(kind: str, tmp_path: Path) -> None:
    tally = damage_trials([kind], range(24), tmp_path)[kind]
    assert tally.bad == []
    assert sum(tally.outcomes.values()) == 24
    assert tally.outcomes["refused"] or kind == "collection"
    assert 0 < tally.memory_mb < 400


@on_linux
@pytest.mark.skipif(shutil.which("cc") is None, reason="needs a C compiler")
@pytest.mark.parametrize(
    ("what", "step", "kinds"),
    [
        ("index", 6, ("kill", "disk full", "short write", "I/O error")),
        ("table", 12, ("kill", "disk full")),
        ("encoder", 12, ("kill", "disk full")),
        ("collection", 60, ("kill", "disk full")),
    ],
)
def test_failing_writes_lose_nothing(what: str, step: int, kinds: tuple[str, ...], tmp_path: Path) -> None:
    library = build(tmp_path)
    assert library is not None
    tally = io_trials(what, library, tmp_path / "files", step, kinds)
    assert tally.bad == []
    assert tally.outcomes["killed"]
    assert tally.outcomes["failed"]


@on_linux
@pytest.mark.parametrize(
    ("what", "megabytes"),
    [("index, add", 2), ("index, load", 1), ("table, upsert", 2), ("encoder, encode", 1), ("collection, add", 1)],
)
def test_memory_that_runs_out_is_an_error_and_changes_nothing(what: str, megabytes: float) -> None:
    assert limits.trial(what, megabytes) in ("CapacityError", "MemoryError", "_ArrayMemoryError")


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
@pytest.mark.parametrize(("what", "beside"), [("index", 0), ("collection", 0), ("collection", 2)])
def test_kills_lose_nothing_acknowledged(what: str, beside: int, tmp_path: Path) -> None:
    turns, bad = kill_trials(what, 8, tmp_path / "files", beside)
    assert bad == []
    assert turns > 0


@on_linux
@pytest.mark.parametrize("name", CYCLES)
def test_cycles_leave_no_memory_behind(name: str, tmp_path: Path) -> None:
    before, after = growth(name, 80, tmp_path)
    assert after - before < 4e6, f"{(after - before) / 60:.0f} bytes a cycle"


@pytest.mark.skipif(sys.platform == "win32", reason="Ctrl-C is another thing there")
def test_long_calls_end_soon_after_ctrl_c(tmp_path: Path) -> None:
    """Scans, walks, builds and writes; the promise, 0.1 s of processor time, is measured by run.py stop."""
    calls = index_calls(100, tmp_path)
    stopped = 0
    for name in (
        "build, i8",
        "search, ef and k of everything",
        "exact search, a batch",
        "within, exact",
        "save",
        "compact",
    ):
        late = [lateness(calls[name], after) for after in (0.0, 0.03)]
        assert max((each for each in late if each is not None), default=0.0) < 3 * LATE_S, name  # others work here too
        stopped += sum(each is not None for each in late)
    assert stopped >= 3  # on a fast machine the others are through before anybody asks


# -- the harness itself


def test_a_crash_and_a_hang_are_seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    worker = Worker(tmp_path)
    os.kill(worker.process.pid, signal.SIGSTOP)
    monkeypatch.setattr("harness.HANG_S", 0.2)
    assert worker.trial("index l2 flat", 1)[1] == "hang"
    worker.finish()
    monkeypatch.undo()
    worker = Worker(tmp_path)
    worker.process.send_signal(signal.SIGSEGV)
    assert worker.trial("index l2 flat", 1)[1].startswith("crash -11")
    worker.finish()
    tally = Tally()
    for outcome in ("refused", "wrong", "undocumented KeyError", "crash -11", "hang", "same"):
        tally.count("kind", 1, "bytes", outcome)
    assert len(tally.bad) == 4


def test_other_answers_are_seen() -> None:
    one = [np.arange(3), np.ones(2, np.float32)]
    assert equal(one, [part.copy() for part in one])
    assert not equal(one, [np.arange(3), np.array([1, np.nextafter(np.float32(1), 2)], np.float32)])
    assert not equal(one, one[:1])


@pytest.mark.parametrize("name", [*BY_CHANCE, *BY_INTENT])
def test_damage_is_done_and_is_the_same_again(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SEMBLANCE_FAULTS_SCRATCH", str(tmp_path))
    VICTIMS["index cosine i8"].make(tmp_path / "a")
    content, damage = (tmp_path / "a").read_bytes(), {**BY_CHANCE, **BY_INTENT}[name]
    made = [damage(content, np.random.default_rng(seed)) for seed in range(12)]
    assert made == [damage(content, np.random.default_rng(seed)) for seed in range(12)]
    assert sum(damaged != content for damaged in made) >= 9


def test_lost_changes_are_seen(tmp_path: Path) -> None:
    prepare(tmp_path / "i", "index")
    assert broken(tmp_path / "i", "index", []) == ""
    assert broken(tmp_path / "i", "index", ["saved 97", "saved 134"]) == "60 rows after 2 saves"
    prepare(tmp_path / "c", "collection")
    assert broken(tmp_path / "c", "collection", []) == ""
    assert "acknowledged add" in broken(tmp_path / "c", "collection", ["add 1000"])
    sb.Index(4).save(tmp_path / "a.sb", metadata={"turn": "3"})
    assert "turn 3 where 4" in index_fault(tmp_path, 4)
    sb.Collection.open(tmp_path / "items.db", dim=8).close()
    assert "turn 1 was acknowledged" in collection_fault(tmp_path, 1)


# -- places where the engine does not run

SUBINTERPRETER = """
import _xxsubinterpreters as interpreters
other = interpreters.create()
try:
    interpreters.run_string(other, "import semblance as sb; sb.Index(4)")
except interpreters.RunFailedError as error:
    print(error)
"""


@pytest.mark.skipif(sys.version_info >= (3, 13), reason="the private module of subinterpreters has another name")
def test_subinterpreters_are_refused() -> None:
    command = [sys.executable, "-W", "ignore", "-c", SUBINTERPRETER]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600, check=True)
    assert "expected the main interpreter, got a subinterpreter" in done.stdout


def test_the_fuzzer_s_doors_open_healthy_files_and_refuse_others(tmp_path: Path) -> None:
    fuzz_files.fill(tmp_path / "corpus")
    inputs = sorted((tmp_path / "corpus").iterdir())
    assert len(inputs) == 2 * len(fuzz_files.FILES) + 3
    rng = np.random.default_rng(0)
    for path in inputs:
        data = path.read_bytes()
        fuzz_files.DOORS[(data[0] & 0x7F) % len(fuzz_files.DOORS)](data[1:])  # raises where the door does not open
        for _ in range(5):
            damaged = bytearray(data)
            for at in rng.integers(1, len(data), 4):
                damaged[at] = int(rng.integers(256))
            fuzz_files.one_input(bytes(damaged))


def test_the_fuzzer_of_calls_finds_nothing_in_its_first_inputs(tmp_path: Path) -> None:
    fuzz_calls.fill(tmp_path / "corpus")
    inputs = sorted((tmp_path / "corpus").iterdir())
    assert len(inputs) == 4 * len(fuzz_calls.DOORS)
    for path in inputs:
        fuzz_calls.one_input(path.read_bytes())


def test_a_late_stop_is_seen() -> None:
    def deaf() -> None:
        before = signal.signal(signal.SIGINT, signal.SIG_IGN)
        begun = time.process_time()
        while time.process_time() < begun + 0.3:
            pass
        signal.signal(signal.SIGINT, before)

    late = lateness(deaf, 0.05)
    assert late is not None
    assert late > LATE_S
