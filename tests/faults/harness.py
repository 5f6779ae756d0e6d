"""Runs trials in processes of their own, so that a crash or a hang is counted and the next trial goes on."""

from __future__ import annotations

import contextlib
import os
import select
import subprocess
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

HERE = Path(__file__).parent
HANG_S = 60.0
LOOKS = 60  # in as many parts: a process that somebody stopped and continued has lost one of them
BAD = ("crash", "hang", "wrong", "undocumented")


@dataclass
class Tally:
    """What became of the trials: outcomes by kind, every bad one with the trial that repeats it."""

    outcomes: Counter[str] = field(default_factory=Counter)
    bad: list[str] = field(default_factory=list)
    memory_mb: int = 0

    def count(self, kind: str, seed: int, damage: str, outcome: str) -> None:
        self.outcomes[outcome.split(" ", maxsplit=1)[0]] += 1
        if outcome.startswith(BAD):
            self.bad.append(f"{kind!r} seed {seed} ({damage}): {outcome}")


class Worker:
    """One trial process and the last thing it said."""

    def __init__(self, scratch: Path) -> None:
        command = [sys.executable, "-X", "faulthandler", str(HERE / "trials.py"), str(scratch)]
        self.errors = (scratch / "stderr").open("w+", encoding="utf-8")  # a pipe that nobody empties would fill up
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self.errors, text=True, env=os.environ
        )
        assert self.process.stdout is not None
        self.output, self.said = self.process.stdout.fileno(), b""

    def line(self) -> str | None:
        """The next line; "" where the process ended, None where it says nothing for too long."""
        while b"\n" not in self.said:
            if not any(select.select([self.output], [], [], HANG_S / LOOKS)[0] for _ in range(LOOKS)):
                return None
            more = os.read(self.output, 1 << 16)
            if not more:
                return ""
            self.said += more
        line, self.said = self.said.split(b"\n", 1)
        return line.decode() + "\n"

    def trial(self, kind: str, seed: int) -> tuple[str, str]:
        """(damage, outcome) of one trial."""
        assert self.process.stdin is not None
        self.process.stdin.write(f"{kind} {seed}\n")
        self.process.stdin.flush()
        damage = "?"
        while line := self.line():
            words = line.rstrip("\n").split(" ", 2)
            if words[:2] == [str(seed), "begins"]:
                damage = words[2]
            elif words[0] == str(seed):
                return damage, " ".join(words[1:])
        if line is None:
            self.process.kill()
            return damage, "hang"
        self.process.wait()
        self.errors.seek(0)
        return damage, f"crash {self.process.returncode}: {self.errors.read()[-600:]}"

    def finish(self) -> int:
        """Close the process; the most memory it used, in MB."""
        out, _ = self.process.communicate()
        self.errors.close()
        words = out.split()
        return int(words[-1]) if words[-2:-1] == ["memory"] else 0


def outlasted(process: subprocess.Popen[str]) -> tuple[str, str]:
    """What a process said in all; it is killed after two minutes in which nobody had stopped it."""
    for _ in range(2 * LOOKS):
        with contextlib.suppress(subprocess.TimeoutExpired):
            return process.communicate(timeout=1)
    process.kill()
    return process.communicate()


def damage_trials(kinds: Sequence[str], seeds: range, scratch: Path) -> dict[str, Tally]:
    """Every kind of file with every seed."""
    tallies: dict[str, Tally] = {}
    for kind in kinds:
        tally = tallies[kind] = Tally()
        worker: Worker | None = None
        for seed in seeds:
            worker = worker or Worker(scratch)
            damage, outcome = worker.trial(kind, seed)
            tally.count(kind, seed, damage, outcome)
            if outcome.startswith(("crash", "hang")):
                worker = None
        if worker is not None:
            tally.memory_mb = worker.finish()
    return tallies
