"""A write that is killed, refused or out of room leaves the old file whole and no litter."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from semblance import ArgumentError, CapacityError, storage

WRITER = """
import sys, numpy as np
from semblance import storage
path, n = sys.argv[1], 0
while True:
    n += 1
    storage.write(path, {"n": np.full(200_000, n), "m": np.full(3, n)}, {"n": str(n)})
    print(n, flush=True)
"""


def test_kill_during_writes_leaves_a_whole_file_at_least_as_new_as_acknowledged(tmp_path: Path) -> None:
    path = tmp_path / "a"
    rng = np.random.default_rng(3)
    for _ in range(24):
        with subprocess.Popen([sys.executable, "-c", WRITER, str(path)], stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            assert process.stdout.readline() == "1\n"
            time.sleep(rng.uniform(0, 0.03))
            process.send_signal(signal.SIGKILL)
            acknowledged = ["1", *process.stdout.read().split()][-1]
        arrays, metadata = storage.read(path)
        n = int(metadata["n"])
        assert n >= int(acknowledged)
        assert (arrays["n"] == n).all()
        assert (arrays["m"] == n).all()


def test_litter_of_killed_writers_is_removed_when_old_and_left_when_in_use(tmp_path: Path) -> None:
    old, young, used = (tmp_path / f".a.{name}.tmp" for name in ("old", "young", "used"))
    for file in (old, young, used):
        file.write_bytes(b"partial")
    for file in (old, used):
        os.utime(file, (time.time() - 3600,) * 2)
    fcntl = pytest.importorskip("fcntl")
    with open(used, "rb") as holder:
        fcntl.flock(holder, fcntl.LOCK_EX)
        storage.write(tmp_path / "a", {}, {})
        assert sorted(os.listdir(tmp_path)) == [".a.used.tmp", ".a.young.tmp", "a"]


LIMITED = """
import resource, signal, sys, numpy as np
from semblance import CapacityError, storage
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[2]),) * 2)
try:
    storage.write(sys.argv[1], {"x": np.ones(100_000)}, {})
except CapacityError as error:
    print(error)
"""


@pytest.mark.parametrize("room", [0, 100, 64_000, 799_000])
def test_no_room_left(tmp_path: Path, room: int) -> None:
    pytest.importorskip("resource")
    path = tmp_path / "a"
    storage.write(path, {"old": np.arange(5)}, {})
    run = subprocess.run(
        [sys.executable, "-c", LIMITED, str(path), str(room)], capture_output=True, text=True, check=False
    )
    assert run.returncode == 0, run.stderr
    assert run.stdout.startswith("path: expected room for the file, got File too large")
    np.testing.assert_array_equal(storage.read(path)[0]["old"], np.arange(5))
    assert os.listdir(tmp_path) == ["a"]


def test_folders_that_cannot_be_written(tmp_path: Path) -> None:
    with pytest.raises(ArgumentError, match="path: expected an existing folder"):
        storage.write(tmp_path / "none" / "a", {}, {})
    with pytest.raises(ArgumentError, match="path: expected a file name, got the folder"):
        storage.write(tmp_path, {}, {})
    (tmp_path / "file").touch()
    with pytest.raises(ArgumentError, match="path: expected an existing folder"):
        storage.write(tmp_path / "file" / "a", {}, {})
    if os.path.isdir("/proc/self"):
        with pytest.raises(ArgumentError, match="path: expected a writable place"):
            storage.write("/proc/self/a", {}, {})


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may write anywhere")
def test_read_only_folder(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(ArgumentError, match="path: expected a writable place"):
        storage.write(tmp_path / "a", {}, {})


@pytest.mark.parametrize("failing", ["fsync", "replace"])
def test_failing_system_calls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failing: str) -> None:
    storage.write(tmp_path / "a", {"old": np.arange(5)}, {})

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(storage.os, failing, full)
    with pytest.raises(CapacityError, match="No space left"):
        storage.write(tmp_path / "a", {}, {})
    monkeypatch.undo()
    assert os.listdir(tmp_path) == ["a"]
    assert list(storage.read(tmp_path / "a")[0]) == ["old"]


def test_interrupt_removes_the_temporary_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(_: int) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(storage.os, "fsync", interrupted)
    with pytest.raises(KeyboardInterrupt):
        storage.write(tmp_path / "a", {"x": np.ones(3)}, {})
    assert os.listdir(tmp_path) == []


def test_threads_writing_one_path_and_reading_it(tmp_path: Path) -> None:
    path = tmp_path / "a"
    storage.write(path, {"x": np.zeros(5000, int)}, {"n": "0"})
    errors: list[BaseException] = []

    def work(n: int) -> None:
        try:
            for _ in range(10):
                storage.write(path, {"x": np.full(5000, n)}, {"n": str(n)})
                arrays, metadata = storage.read(path, mmap=n % 2 == 0)
                assert (arrays["x"] == int(metadata["n"])).all()
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=work, args=(n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    assert os.listdir(tmp_path) == ["a"]
