"""The long trials behind docs/reliability.md; the tests beside this file run a few of each.

    python tests/faults/run.py damage [--count 1000] [--first 0] [--kinds ...]
    python tests/faults/run.py io [--step 1] [--kinds ...]
    python tests/faults/run.py kill [--count 500]
    python tests/faults/run.py cycles [--count 10000]
    python tests/faults/run.py limit
    python tests/faults/run.py stop [--count 8] [--scale 400]

Each prints one Markdown table and ends with 1 where a promise was broken, which it names.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

from cycles import CYCLES, growth
from harness import damage_trials
from io_faults import BROKEN, build, io_trials
from kills import kill_trials
from limits import CASES, SIZES, trial
from stops import LATE_S, stop_trials
from victims import VICTIMS


def damage(given: argparse.Namespace) -> bool:
    """Damaged copies of every kind of file."""
    seeds = range(given.first, given.first + given.count)
    with tempfile.TemporaryDirectory() as scratch:
        tallies = damage_trials(given.kinds or list(VICTIMS), seeds, Path(scratch))
    columns = (
        "refused",
        "unchanged",
        "same",
        "answered",
        "told",
        "unnoticed",
        "wrong",
        "undocumented",
        "crash",
        "hang",
    )
    print("| file | trials |", " | ".join(columns), "| most memory, MB |")
    print("|---|" + "---|" * (len(columns) + 2))
    for kind, tally in tallies.items():
        counts = " | ".join(f"{tally.outcomes[column]:,}" for column in columns)
        print(f"| {kind} | {sum(tally.outcomes.values()):,} | {counts} | {tally.memory_mb} |")
    bad = [line for tally in tallies.values() for line in tally.bad]
    return told(bad)


def told(bad: list[str]) -> bool:
    """Print what broke a promise; whether nothing did."""
    for line in bad[:40]:
        print(line)
    return not bad


def io(given: argparse.Namespace) -> bool:
    """A fault at every change to a file."""
    bad = []
    print("| what | trials | killed | failed, documented | finished all the same | broken |")
    print("|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as scratch:
        library = build(Path(scratch))
        if library is None:
            raise SystemExit("expected Linux and a C compiler, got neither or one")
        for what in given.kinds or BROKEN:
            tally = io_trials(what, library, Path(scratch) / what, given.step)
            counts = " | ".join(str(tally.outcomes[name]) for name in ("killed", "failed", "finished", "broken"))
            print(f"| {what} | {sum(tally.outcomes.values())} | {counts} |", flush=True)
            bad += tally.bad
    return told(bad)


def limit(given: argparse.Namespace) -> bool:
    """Calls that want more memory than there may be."""
    bad = []
    print("| call | trials | refused | finished | broken |")
    print("|---|---|---|---|---|")
    for what in given.kinds or CASES:
        ended = [trial(what, megabytes) for megabytes in SIZES]
        wrong = [line for line in ended if line.startswith("broken")]
        refused = sum(line.endswith("Error") for line in ended)
        print(f"| {what} | {len(ended)} | {refused} | {ended.count('finished')} | {len(wrong)} |", flush=True)
        bad += [f"{what}: {line}" for line in wrong]
    return told(bad)


def kill(given: argparse.Namespace) -> bool:
    """kill -9 at random moments."""
    bad = []
    print("| what | kills | turns acknowledged | broken |")
    print("|---|---|---|---|")
    with tempfile.TemporaryDirectory() as scratch:
        for what, beside in (("index", 0), ("collection", 0), ("collection", 2)):
            name = f"{what}, {beside} readers beside" if beside else what
            if given.kinds and name not in given.kinds:
                continue
            turns, wrong = kill_trials(what, given.count, Path(scratch) / name, beside)
            print(f"| {name} | {given.count} | {turns} | {len(wrong)} |", flush=True)
            bad += wrong
    return told(bad)


def cycles(given: argparse.Namespace) -> bool:
    """Make, use and destroy."""
    bad = []
    print("| what | cycles | resident after a tenth, MB | at the end, MB |")
    print("|---|---|---|---|")
    with tempfile.TemporaryDirectory() as scratch:
        for name in given.kinds or CYCLES:
            before, after = growth(name, given.count, Path(scratch) / name)
            print(f"| {name} | {given.count} | {before / 1e6:.1f} | {after / 1e6:.1f} |", flush=True)
            if after > before * 1.05 + 2e6:
                bad.append(f"{name}: memory grew by {(after - before) / given.count:.0f} bytes a cycle")
    return told(bad)


def stop(given: argparse.Namespace) -> bool:
    """Ctrl-C in every long call."""
    bad = []
    print("| call | its processor time, s | stops | longest time to stop, ms |")
    print("|---|---|---|---|")
    with tempfile.TemporaryDirectory() as scratch:
        for name, whole, late, stops in stop_trials(given.scale, given.count, Path(scratch), given.kinds):
            print(f"| {name} | {whole:.2f} | {stops} | {1000 * late:.0f} |", flush=True)
            if late > LATE_S:
                bad.append(f"{name}: {1000 * late:.0f} ms")
    return told(bad)


TRIALS = {"damage": damage, "io": io, "kill": kill, "cycles": cycles, "limit": limit, "stop": stop}


def main() -> None:
    """Run what the first word asks for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=TRIALS)
    parser.add_argument("--count", type=int, default=1000)
    parser.add_argument("--step", type=int, default=1)
    parser.add_argument("--scale", type=int, default=400)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--kinds", nargs="*", default=[])
    given = parser.parse_args()
    sys.exit(0 if TRIALS[given.what](given) else 1)


if __name__ == "__main__":
    main()
