"""Recall@10 against queries per second, side by side with other libraries: one process each, measured in turns.

    SEMBLANCE_DATA=... python bench/search/compare.py [NAME ...] [--data FILE.npz] [--out FOLDER] [--rounds N]

Every library (`bench/search/competitors/`; all that are installed by default) builds its index in a process of its own.
Then rounds go over all libraries and all their settings, one after the other, so that a busy moment of the machine hits
all of them; figures are medians over rounds, one searching thread. Data are the glosses (115,659 x 384, cosine) with
queries like them and single words, which are not; or an .npz of `base`, `query` and `metric` ("cosine" or "l2").
Prints Markdown tables and writes `results.json` and `recall_speed.png` to FOLDER.
"""

from __future__ import annotations

import argparse
import importlib
import itertools
import json
import multiprocessing
import multiprocessing.connection
import os
import sys
import time
from pathlib import Path

import numpy as np

HERE = Path(__file__).parent
K, RECALLS, ENOUGH = 10, (0.90, 0.95, 0.99), 0.997
SINGLE_QUERIES = 300


def load(file: str | None) -> tuple[np.ndarray, str, dict[str, np.ndarray]]:
    """Base, metric, and query sets by name."""
    if file is not None:
        data = np.load(file)
        return data["base"].astype(np.float32), str(data["metric"]), {"queries": data["query"].astype(np.float32)}
    folder = Path(os.environ["SEMBLANCE_DATA"]) / "glosses"
    queries = np.load(folder / "queries.npz")
    sets = {"in distribution": queries["query"], "single words": queries["word_query"]}
    return np.load(folder / "base_f16.npy").astype(np.float32), "cosine", sets


def truth_of(base: np.ndarray, queries: np.ndarray, metric: str) -> np.ndarray:
    """Exact neighbours (q, K), by blocks of products."""
    squares = np.einsum("ij,ij->i", base, base) if metric == "l2" else np.zeros(len(base), np.float32)
    found = []
    for start in range(0, len(queries), 256):
        score = squares - (2 if metric == "l2" else 1) * (queries[start : start + 256] @ base.T)
        near = np.argpartition(score, K, axis=1)[:, :K]
        found.append(near)
    return np.concatenate(found)


def recall(found: np.ndarray, truth: np.ndarray) -> float:
    """Mean share of the true ten that were found."""
    return float(np.mean([len(np.intersect1d(a, b)) for a, b in zip(found, truth, strict=True)]) / K)


def resident() -> float:
    """Megabytes of this process in memory."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith("VmRSS"))


def serve(name: str, arguments: argparse.Namespace, pipe: multiprocessing.connection.Connection) -> None:
    """One library: builds, then measures what it is asked to until the pipe closes."""
    base, metric, sets = load(arguments.data)
    competitor = importlib.import_module(f"competitors.{name}").Competitor()
    before, start = resident(), time.perf_counter()
    competitor.build(base, metric, arguments.build_threads)
    pipe.send((time.perf_counter() - start, resident() - before, competitor.efforts()))
    while True:
        kind, which, effort = pipe.recv()
        queries = sets[which]
        if kind == "batch":
            start = time.perf_counter()
            found = competitor.search(queries, K, effort)
            pipe.send((time.perf_counter() - start, found))
        else:
            times = []
            for query in queries[:SINGLE_QUERIES]:
                start = time.perf_counter()
                competitor.search(query[None], K, effort)
                times.append(time.perf_counter() - start)
            pipe.send(np.percentile(times, [50, 99]) * 1e6)


class Served:
    """A library in its process."""

    def __init__(self, name: str, arguments: argparse.Namespace) -> None:
        self.name = name
        context = multiprocessing.get_context("spawn")
        self.pipe, other = context.Pipe()
        self.process = context.Process(target=serve, args=(name, arguments, other), daemon=True)
        self.process.start()
        other.close()
        self.build_seconds, self.megabytes, self.efforts = self.pipe.recv()

    def ask(self, kind: str, which: str, effort: object) -> object:
        self.pipe.send((kind, which, effort))
        return self.pipe.recv()


def at_recall(points: list[tuple[float, float]], wanted: float) -> float | None:
    """Queries per second at a recall: the best of the settings beyond it, or between two of them on the line."""
    points = sorted(points)
    best = max((speed for reached, speed in points if reached >= wanted), default=None)
    for (low, fast), (high, slow) in itertools.pairwise(points):
        if low < wanted <= high:
            share = (wanted - low) / (high - low)
            best = max(best or 0.0, float(np.exp((1 - share) * np.log(fast) + share * np.log(slow))))
    return best


def measure(libraries: list[Served], which: str, truth: np.ndarray, rounds: int) -> dict[str, list[tuple]]:
    """(effort, recall, queries per second) of every library, by name."""
    settings = []
    for library in libraries:
        for effort in library.efforts:
            reached = recall(library.ask("batch", which, effort)[1], truth)
            settings.append((library, effort, reached, []))
            if reached > ENOUGH:
                break
    for _ in range(rounds):
        for library, effort, _, seconds in settings:
            seconds.append(library.ask("batch", which, effort)[0])
    curves: dict[str, list[tuple]] = {library.name: [] for library in libraries}
    for library, effort, reached, seconds in settings:
        curves[library.name].append((effort, reached, len(truth) / float(np.median(seconds))))
    return curves


def latencies(libraries: list[Served], which: str, curves: dict[str, list[tuple]]) -> dict[str, list[float]]:
    """Median and 99th percentile in microseconds of single-query calls at the first setting with recall 0.95."""
    chosen = {}
    for library in libraries:
        reaching = [effort for effort, reached, _ in curves[library.name] if reached >= 0.95]
        if reaching:
            rounds = [library.ask("single", which, reaching[0]) for _ in range(5)]
            chosen[library.name] = np.median(rounds, axis=0).tolist()
    return chosen


def report(libraries: list[Served], results: dict) -> None:
    """Markdown."""
    for which, (curves, single) in results.items():
        print(f"\n{which}: queries/s at recall@10; single calls at 0.95, microseconds\n")
        print("| library | " + " | ".join(f"{r:.2f}" for r in RECALLS) + " | p50 | p99 | build s | MB |")
        print("|---|" + "---|" * (len(RECALLS) + 4))
        for library in libraries:
            points = [(reached, speed) for _, reached, speed in curves[library.name]]
            speeds = [at_recall(points, wanted) for wanted in RECALLS]
            cells = [f"{s:,.0f}" if s else "-" for s in speeds]
            cells += [f"{x:.0f}" for x in single.get(library.name, [])] or ["-", "-"]
            print(f"| {library.name} | {' | '.join(cells)} | {library.build_seconds:.0f} | {library.megabytes:.0f} |")


def draw(results: dict, file: Path) -> None:
    """Recall against speed, a panel a query set."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, panels = pyplot.subplots(1, len(results), figsize=(7 * len(results), 5.5), squeeze=False)
    for panel, (which, (curves, _)) in zip(panels[0], results.items(), strict=True):
        for name, points in curves.items():
            ours = name.startswith("semblance")
            shown = sorted((reached, speed) for _, reached, speed in points if reached >= 0.8)
            panel.plot(*zip(*shown, strict=True), marker="o", markersize=3, linewidth=2.5 if ours else 1, label=name)
        panel.set(title=which, xlabel="recall@10", ylabel="queries a second, one thread", yscale="log")
        panel.grid(alpha=0.3, which="both")
    panels[0][0].legend(fontsize=8)
    figure.tight_layout()
    figure.savefig(file, dpi=110)


def main() -> None:
    """Build, measure, print, draw."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    every = sorted(path.stem for path in (HERE / "competitors").glob("[a-z]*.py"))
    parser.add_argument("names", nargs="*", default=every)
    parser.add_argument("--data")
    parser.add_argument("--out", default="bench-out")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--build-threads", type=int, default=2)
    arguments = parser.parse_args()
    base, metric, sets = load(arguments.data)
    truths = {which: truth_of(base, queries, metric) for which, queries in sets.items()}
    libraries = []
    for name in arguments.names:
        try:
            libraries.append(Served(name, arguments))
            print(f"{name}: built in {libraries[-1].build_seconds:.0f} s", file=sys.stderr)
        except EOFError:
            print(f"{name}: not measured, see the error above", file=sys.stderr)
    results = {}
    for which, truth in truths.items():
        curves = measure(libraries, which, truth, arguments.rounds)
        assert any(reached >= 0.95 for _, reached, _ in curves[libraries[0].name]), "no recall, no speed"
        results[which] = (curves, latencies(libraries, which, curves))
    report(libraries, results)
    folder = Path(arguments.out)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "results.json").write_text(json.dumps(results, indent=1))
    draw(results, folder / "recall_speed.png")


if __name__ == "__main__":
    sys.path.insert(0, str(HERE))
    main()
