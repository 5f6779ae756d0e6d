"""The same trials of trust on several libraries, each trial in a process of its own:

    PYTHONPATH=python python bench/trust/run.py [NAMES] [--damages 200] [--kills 40]

Prints a Markdown table; ``--json FILE`` keeps the counts. What a column counts is in trials.py.
"""

import argparse
import contextlib
import json
import os
import random
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

HERE = Path(__file__).parent
NAMES = ("semblance", "hnswlib", "faiss", "usearch", "voyager", "rabitqlib")
HANG_S = 90
EXITS = 10


class Trials:
    """The trials of one library."""

    def __init__(self, name, folder):
        self.name, self.folder = name, folder

    def start(self, *words):
        """A trial's process."""
        command = [sys.executable, str(HERE / "trials.py"), self.name, str(self.folder), *map(str, words)]
        return subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, start_new_session=True
        )

    def once(self, *words):
        """The last line of a trial, or how its process ended instead of saying one."""
        process, out = self.start(*words), None
        for _ in range(HANG_S):  # by the second: one that somebody stopped and continued has not hung
            with contextlib.suppress(subprocess.TimeoutExpired):
                out, _ = process.communicate(timeout=1)
                break
        if out is None:
            end(process)
            return "hang"
        lines = out.split("\n")[:-1]
        return "crash" if process.returncode or not lines else lines[-1]

    def damage(self, count):
        """Damaged copies: refused, the same answers, wrong ones in silence, crash or hang."""
        outcomes, seed = Counter(), 0
        while seed < count:
            process = self.start("damage", f"{seed}-{count}")
            while line := line_of(process):
                words = line.split()
                if words[0].isdigit() and words[1] != "begins":
                    outcomes[words[1]] += 1
                    seed = int(words[0]) + 1
            if seed < count:
                outcomes["hang" if line is None else "crash"] += 1
                seed += 1
            end(process)
        return outcomes

    def kill(self, count):
        """kill -9 while a good file is saved over."""
        chance, outcomes = random.Random(5), Counter()
        for _ in range(count):
            for left in self.folder.glob("victim*"):
                left.unlink()
            shutil.copy(self.folder / "healthy", self.folder / "victim")
            process = self.start("save_for_ever")
            if not line_of(process):
                outcomes["crash"] += 1
                continue
            time.sleep(chance.uniform(0.0, 0.1))
            process.send_signal(signal.SIGKILL)
            process.wait()
            outcomes[self.once("opened")] += 1
        return outcomes

    def busy(self):
        """Files saved beside changes."""
        said = self.once("save_while_adding")
        return Counter([said]) if said != "saved" else Counter(self.once("open_busy", i) for i in range(10))

    def all(self, damages, kills):
        """Every trial."""
        if self.once("prepare") != "prepared":
            return {"prepare": Counter(["failed"])}
        return {
            "damage": self.damage(damages),
            "kill": self.kill(kills),
            "nan": Counter([self.once("not_a_number")]),
            "exit": Counter(self.once("exit_in_search") for _ in range(EXITS)),
            "fork": Counter([self.once("fork")]),
            "busy": self.busy(),
        }


def end(process):
    """Kill a trial and whatever it has forked."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def line_of(process):
    """The next line; "" at the end, None where nothing comes."""
    if not any(select.select([process.stdout], [], [], 1)[0] for _ in range(HANG_S)):
        return None
    out = b""
    while not out.endswith(b"\n"):
        byte = os.read(process.stdout.fileno(), 1)
        if not byte:
            return ""
        out += byte
    return out.decode()


def told(counts):
    """`refused 12, wrong 3`."""
    return ", ".join(f"{what} {count}" for what, count in sorted(counts.items())) or "0"


def main():
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", default=NAMES)
    parser.add_argument("--damages", type=int, default=200)
    parser.add_argument("--kills", type=int, default=40)
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    columns = ("damage", "kill", "nan", "exit", "fork", "busy")
    print(
        "| library | damaged files | killed while saving | NaN row | exit during a search | fork | saved while adding |"
    )
    print("|---|" + "---|" * len(columns))
    found = {}
    for name in given.names:
        with tempfile.TemporaryDirectory() as folder:
            found[name] = Trials(name, Path(folder)).all(given.damages, given.kills)
        print(f"| {name} |", " | ".join(told(found[name].get(column, {})) for column in columns), "|", flush=True)
    if given.json:
        given.json.write_text(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
