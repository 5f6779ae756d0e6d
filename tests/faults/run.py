"""The long trials: ``python tests/faults/run.py damage [--count 1000] [--first 0] [--kinds ...]``.

Prints one Markdown table; ends with 1 where anything crashed, hung, answered wrongly in silence or raised what is not
documented.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

from harness import damage_trials
from victims import VICTIMS


def damage(given: argparse.Namespace) -> bool:
    """Damaged copies of every kind of file."""
    seeds = range(given.first, given.first + given.count)
    with tempfile.TemporaryDirectory() as scratch:
        tallies = damage_trials(given.kinds or list(VICTIMS), seeds, Path(scratch))
    columns = ("refused", "unchanged", "same", "answered", "told", "unnoticed", "wrong", "undocumented", "crash", "hang")
    print("| file | trials |", " | ".join(columns), "| most memory, MB |")
    print("|---|" + "---|" * (len(columns) + 2))
    for kind, tally in tallies.items():
        counts = " | ".join(f"{tally.outcomes[column]:,}" for column in columns)
        print(f"| {kind} | {sum(tally.outcomes.values()):,} | {counts} | {tally.memory_mb} |")
    bad = [line for tally in tallies.values() for line in tally.bad]
    for line in bad[:40]:
        print(line)
    return not bad


def main() -> None:
    """Run what the first word asks for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=["damage"])
    parser.add_argument("--count", type=int, default=1000)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--kinds", nargs="*", default=[])
    given = parser.parse_args()
    sys.exit(0 if {"damage": damage}[given.what](given) else 1)


if __name__ == "__main__":
    main()
