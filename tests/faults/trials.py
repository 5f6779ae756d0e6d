"""The process that opens damaged files: ``trials.py SCRATCH``, then a line ``KIND SEED`` for each trial on stdin.

It says ``SEED begins DAMAGE`` and then ``SEED OUTCOME``; what it does not live to say, the harness counts as a crash.
"""

from __future__ import annotations

import logging
import os
import resource
import sys
import traceback
import warnings
from pathlib import Path

import numpy as np
from damages import BY_CHANCE, BY_INTENT, OF_FOLDERS
from victims import VICTIMS, Answers, copy

import semblance as sb


def equal(found: Answers, wanted: Answers) -> bool:
    """The same answers to the last bit."""
    return len(found) == len(wanted) and all(
        a.shape == b.shape and a.dtype == b.dtype and a.tobytes() == b.tobytes()
        for a, b in zip(found, wanted, strict=True)
    )


class Trials:
    """Healthy files and their answers, made once; then damaged copies."""

    def __init__(self, scratch: Path) -> None:
        self.scratch = scratch
        self.truth: dict[str, Answers] = {}

    def healthy(self, kind: str) -> Path:
        path = self.scratch / f"healthy {kind}"
        if kind not in self.truth:
            if not path.exists():
                VICTIMS[kind].make(path)
            copy(path, self.scratch / "asked")
            opened, self.truth[kind] = VICTIMS[kind].answer(self.scratch / "asked", True, False)
            VICTIMS[kind].change(opened, self.scratch / "asked")
        return path

    def run(self, kind: str, seed: int) -> str:
        """One trial; see `judge` for what it says."""
        victim, healthy, rng = VICTIMS[kind], self.healthy(kind), np.random.default_rng(seed)
        path = self.scratch / "damaged"
        copy(healthy, path)
        hurt = Path(f"{path}{victim.files[int(rng.integers(len(victim.files)))]}")
        content = hurt.read_bytes()
        intent = victim.own and rng.random() < 0.5
        pool = BY_INTENT if intent else {**BY_CHANCE, **OF_FOLDERS} if healthy.is_dir() else BY_CHANCE
        name = list(pool)[int(rng.integers(len(pool)))]
        print(seed, "begins", name, flush=True)
        if name in OF_FOLDERS:
            OF_FOLDERS[name](hurt, rng)
            return self.judge(kind, path, intent, seed)
        damaged = pool[name](content, rng)
        if damaged == content:
            return "unchanged"
        hurt.write_bytes(damaged)
        return self.judge(kind, path, intent, seed)

    def judge(self, kind: str, path: Path, intent: bool, seed: int) -> str:
        """Open, ask, change and save.

        ``refused``: a documented error at opening or asking. ``same``: the healthy file's answers. ``wrong``: others.
        ``answered``: any answer to a file forged with right checksums or opened without comparing them, another one
        than the healthy folder's to an ONNX folder that keeps none. ``told``: a database, which has no checksums, gave
        other answers and its `check` says that it is damaged; ``unnoticed``: `check` does not.
        """
        victim = VICTIMS[kind]
        verify, mmap = seed % 4 != 0, seed % 3 == 0
        try:
            opened, answers = victim.answer(path, verify, mmap)
        except sb.Error:
            return "refused"
        outcome = (
            "answered"
            if intent or (victim.own and not verify)
            else "same"
            if equal(answers, self.truth[kind])
            else "wrong"
            if victim.seen
            else "answered"
        )
        try:
            if kind == "database" and outcome != "same":
                outcome = "unnoticed" if opened.check() else "told"
            victim.change(opened, path.parent / "changed")
        except sb.Error:
            pass
        return outcome


def most_memory() -> int:
    """Megabytes; of this program alone: getrusage counts what the process was before exec, a copy of its parent."""
    status = Path("/proc/self/status")
    if not status.exists():
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 2**20  # bytes on macOS
    return next(int(line.split()[1]) // 1024 for line in status.read_text().splitlines() if line.startswith("VmHWM"))


def main() -> None:
    """Serve trials until stdin ends; the last line tells the most memory that was in use."""
    scratch = Path(sys.argv[1])
    os.environ["SEMBLANCE_FAULTS_SCRATCH"] = str(scratch)
    warnings.simplefilter("ignore")
    logging.disable()
    trials = Trials(scratch)
    for line in sys.stdin:
        kind, seed = line.rsplit(" ", 1)
        try:
            outcome = trials.run(kind, int(seed))
        except Exception as error:  # whatever is no error of the documented tree
            place = traceback.extract_tb(error.__traceback__)[-1]
            outcome = (
                f"undocumented {type(error).__name__} at {Path(place.filename).name}:{place.lineno}: {error!s:.80}"
            )
        print(int(seed), outcome.replace("\n", " "), flush=True)
    print("memory", most_memory(), flush=True)


if __name__ == "__main__":
    main()
