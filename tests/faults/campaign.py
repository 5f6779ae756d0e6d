"""A long run of every fuzz target, in turns, until a sum of processor time is spent:

    cmake --preset fuzz && cmake --build --preset fuzz                  # the native targets, clang
    cmake --preset fuzz-python && cmake --build --preset fuzz-python    # the module for the two of the Python face
    pip install atheris numpy xxhash tokenizers                         # and what they need
    python tests/faults/campaign.py FOLDER [--seconds 7200] [--turn 400] [--targets build/fuzz/tests/native/fuzz]
                                           [--module build/fuzz-python/_core.*.so]

FOLDER keeps corpora, findings, the last logs and `turns.jsonl`; the same command goes on from there and prints the
table (`--seconds 0`: the table alone). Without `--module` the Python targets use the module that is imported.

Time is the processor's, in user mode: a run that is paused (SIGSTOP) or beside others is not cut short, which is also
why libFuzzer's own limits, which look at the clock, are off. A turn that does not end when asked to is a hang.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
SEEDS = HERE.parent / "native" / "fuzz" / "corpus"
PACKAGE = HERE.parent.parent / "python" / "semblance"
PYTHON_TARGETS = ("fuzz_files", "fuzz_calls")
NEVER = str(10**6)
HANG_S = 60  # of processor time after a turn was asked to end
TICKS = os.sysconf("SC_CLK_TCK")


def user_seconds(pid: int) -> float | None:
    """Processor time of a process so far, None once it has ended."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except FileNotFoundError:
        return None
    return None if fields[0] == "Z" else int(fields[11]) / TICKS


def sanitised(module: Path, folder: Path) -> dict[str, str]:
    """Environment of a Python process that imports this package with that module, under atheris's sanitizers."""
    import atheris

    package = folder / "python" / "semblance"
    shutil.rmtree(package, ignore_errors=True)
    shutil.copytree(PACKAGE, package, ignore=shutil.ignore_patterns("_core*.so", "__pycache__"))
    shutil.copy(module, package)
    return {
        "PYTHONPATH": os.pathsep.join([str(package.parent), os.environ.get("PYTHONPATH", "")]),
        "LD_PRELOAD": f"{atheris.path()}/asan_with_fuzzer.so",
        "ASAN_OPTIONS": "detect_leaks=0:allocator_may_return_null=1",  # Python keeps memory; too much is an error
    }


def command(target: str, natives: Path, folder: Path) -> list[str]:
    """A target's process, its corpus first."""
    what = target.removeprefix("fuzz_")
    corpus = folder / "corpus" / what
    corpus.mkdir(parents=True, exist_ok=True)
    (folder / "findings").mkdir(exist_ok=True)
    options = [f"-artifact_prefix={folder}/findings/{what}-", "-print_final_stats=1", f"-timeout={NEVER}"]
    if target in PYTHON_TARGETS:
        return [sys.executable, str(HERE / f"{target}.py"), str(corpus), *options]
    return [str(natives / target), str(corpus), str(SEEDS / what), *options, "-use_value_profile=1"]


def take_turn(target: str, given: argparse.Namespace, folder: Path, seconds: float) -> dict[str, object]:
    """Run one target for its share; what it spent and did."""
    log = folder / f"{target}.log"
    more = sanitised(given.module, folder) if given.module and target in PYTHON_TARGETS else {}
    with log.open("wb") as out:
        process = subprocess.Popen(
            command(target, given.targets, folder), stdout=out, stderr=out, env={**os.environ, **more}
        )
    asked = 0
    while (spent := user_seconds(process.pid)) is not None:
        if asked < 1 and spent > seconds:
            process.send_signal(signal.SIGUSR1)  # libFuzzer ends after this input
            asked = 1
        if asked < 2 and spent > seconds + HANG_S:
            process.send_signal(signal.SIGABRT)  # libFuzzer keeps this input and ends
            asked = 2
        time.sleep(1)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    said = log.read_text(errors="replace")
    runs = re.findall(r"number_of_executed_units:\s*(\d+)", said) or re.findall(r"^#(\d+)", said, re.M) or ["0"]
    covered = re.findall(r"cov: (\d+) ft: (\d+) corp: (\d+)", said) or [("0", "0", "0")]
    if process.returncode:
        log.rename(folder / "findings" / f"{target}-{int(time.time())}.log")
    return {
        "target": target, "user_s": usage.ru_utime, "runs": int(runs[-1]), "cov": int(covered[-1][0]),
        "ft": int(covered[-1][1]), "corpus": int(covered[-1][2]), "rc": process.returncode,
    }  # fmt: skip


def turns_of(folder: Path) -> list[dict[str, object]]:
    """The turns that were taken so far."""
    with contextlib.suppress(FileNotFoundError):
        return [json.loads(line) for line in (folder / "turns.jsonl").read_text().splitlines()]
    return []


def table(folder: Path) -> None:
    """Print what each target has had."""
    turns = turns_of(folder)
    print(
        "| target | processor time, s | inputs | edges | features | corpus | findings |\n|---|---|---|---|---|---|---|"
    )
    for target in sorted({str(turn["target"]) for turn in turns}):
        of = [turn for turn in turns if turn["target"] == target]
        most = [max(int(str(turn[key])) for turn in of) for key in ("cov", "ft", "corpus")]
        runs, found = sum(int(str(turn["runs"])) for turn in of), sum(turn["rc"] != 0 for turn in of)
        print(f"| {target} | {spent_by(of):,.0f} | {runs:,} | {most[0]:,} | {most[1]:,} | {most[2]:,} | {found} |")
    print(f"{spent_by(turns):,.0f} s of processor time, {sum(int(str(turn['runs'])) for turn in turns):,} inputs")


def spent_by(turns: list[dict[str, object]]) -> float:
    """Processor time of some turns."""
    return sum(float(str(turn["user_s"])) for turn in turns)


def main() -> None:
    """Turns until the time is spent, then the table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--seconds", type=float, default=7200)
    parser.add_argument("--turn", type=float, default=400)
    parser.add_argument("--targets", type=Path, default=Path("build/fuzz/tests/native/fuzz"))
    parser.add_argument("--module", type=Path)
    given = parser.parse_args()
    given.folder.mkdir(parents=True, exist_ok=True)
    folder = given.folder.resolve()
    targets = sorted(path.name for path in given.targets.glob("fuzz_*") if path.is_file()) + list(PYTHON_TARGETS)
    while (left := given.seconds - spent_by(turns_of(folder))) > 0:
        had = {target: spent_by([turn for turn in turns_of(folder) if turn["target"] == target]) for target in targets}
        turn = take_turn(min(had, key=lambda name: had[name]), given, folder, min(given.turn, max(left, 10)))
        with (folder / "turns.jsonl").open("a") as out:
            out.write(json.dumps(turn) + "\n")
    table(folder)


if __name__ == "__main__":
    main()
