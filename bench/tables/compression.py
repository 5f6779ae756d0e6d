"""Every way to store a table, by bytes, look-up speed, reconstruction error, and the quality of two real tasks.

    SEMBLANCE_DATA=... python bench/tables/compression.py [--json out.json] [--picture out.png] [--seeds 3]

Needs matplotlib for the picture. Data, in $SEMBLANCE_DATA/local: criteo_10k (click prediction: a factorisation machine,
methods with a form of their own trained in that form, the others from the trained f32 table; the served table gives the
rows), ml-100k (next item: the last film of every user from the mean of the films before) and trained_tables
(reconstruction). Without a part of the data, its columns are left out and that is said.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from collections import defaultdict
from collections.abc import Callable
from itertools import pairwise, product
from pathlib import Path
from typing import Any

import numpy as np
from click_model import Clicks, Form, auc, log_loss, read_clicks, train

import semblance as sb
from semblance import tables as st

DIM = 16
FORMATS = ("f32", "f16", "bf16", "i8", "fp8", "i4", "i2")
Stored = tuple[sb.EmbeddingTable, np.ndarray | None, np.ndarray]  # table, each key's row in it, rotation of its columns
Trained = tuple[Form, Callable[[Form], sb.EmbeddingTable]]  # the form to train, and how it is served


def orthogonal(weights: np.ndarray) -> np.ndarray:
    """The principal axes of rows, for methods that keep prefixes."""
    return np.linalg.svd(weights, full_matrices=False)[2].T.astype(np.float32)


def banded(weights: np.ndarray, order: np.ndarray, dims: tuple[int, ...]) -> tuple[sb.EmbeddingTable, np.ndarray]:
    """Rows in bands of `order`, most wanted and widest first, each band as wide as `dims` says; and each key's row."""
    ends = np.linspace(0, 1, len(dims) + 1) ** 2 * len(order)
    bands = [order[int(a) : int(b)] for a, b in pairwise(ends)]
    parts = [sb.EmbeddingTable.from_dense(weights[band][:, :d], "i8") for band, d in zip(bands, dims, strict=True)]
    place = np.empty(len(order), np.int64)
    place[np.concatenate(bands)] = np.arange(len(order))
    return st.mixed(parts), place


def stored_forms(
    weights: np.ndarray, counts: np.ndarray
) -> dict[str, tuple[sb.EmbeddingTable, np.ndarray | None, np.ndarray]]:
    """Methods that start from trained rows."""
    dim, none = weights.shape[1], np.eye(weights.shape[1], dtype=np.float32)
    order = np.argsort(-counts, kind="stable")
    forms = {dtype: (sb.EmbeddingTable.from_dense(weights, dtype), None, none) for dtype in FORMATS}
    words = min(256, len(weights) // 4)
    for parts in (dim // 2, dim // 4, dim // 8):
        forms[f"product {parts}"] = (st.product(weights, parts, words, dtype="f16"), None, none)
    for levels in (2, 4, 8):
        forms[f"residual {levels}"] = (st.residual(weights, levels, words, dtype="f16"), None, none)
    for share in (0.5, 0.25, 0.1):
        kept = np.sort(order[: int(share * len(order))])
        remap = np.full(len(weights), -1)
        remap[kept] = np.arange(len(kept))
        forms[f"pruned {share:.0%}"] = (st.pruned(weights[kept], remap, "i8"), None, none)
    axes = orthogonal(weights)
    table, place = banded(weights @ axes, order, (dim, dim // 2, dim // 4))
    forms["mixed"] = (table, place, axes)
    return forms


def click_forms(
    clicks: Clicks, rng: np.random.Generator
) -> dict[str, tuple[Form, Callable[[Form], sb.EmbeddingTable]]]:
    """Methods that are trained in a form of their own."""
    n = len(clicks.counts)
    every = np.arange(n)

    def random(rows: int, dim: int, spread: float = 0.03) -> np.ndarray:
        return (rng.standard_normal((rows, dim)) * spread).astype(np.float32)

    forms: dict[str, Trained] = {}
    for share in (4, 16):
        for chunks in (1, 2):
            rows, dim = n * chunks // share, DIM // chunks
            places = [st.hash_rows(every, salt, rows) for salt in st.salts("clicks", chunks)]
            shared = random(rows, dim)
            forms[f"hashed {chunks}x 1/{share}"] = (
                Form([shared] * chunks, places),
                lambda form, chunks=chunks: st.hashed(form.parts[0], "clicks", chunks),
            )
        divisor = n // share
        quotients = (n - 1) // divisor + 1
        forms[f"quotient-remainder 1/{share}"] = (
            Form(
                [random(quotients, DIM, 0.03) + 1, random(divisor, DIM)],
                [every // divisor, every % divisor],
                "multiply",
            ),
            lambda form: st.quotient_remainder(*form.parts, n),
        )
        forms[f"row x factor 1/{share}"] = (
            Form([random(divisor, DIM), np.ones((n, 1), np.float32)], [every % divisor, every], "multiply"),
            lambda form, divisor=divisor: row_and_factor(form, divisor, n),
        )
        blocks = DIM // 4
        values = n * DIM // share
        starts = [st.hash_rows(every, salt, values) for salt in st.salts("clicks", blocks)]
        forms[f"block-shared 1/{share}"] = block_form(random(values, 1), starts)
    forms["seeded"] = (
        Form([st.seeded(DIM).lookup(every) * 0.2], [every], frozen=True),
        lambda form: st.seeded(DIM, deviation=0.2 * DIM**-0.5),
    )
    return forms


def row_and_factor(form: Form, divisor: int, n: int) -> sb.EmbeddingTable:
    rows, factor = (
        sb.EmbeddingTable.from_dense(part, dtype) for part, dtype in zip(form.parts, ("i8", "f16"), strict=True)
    )
    return st.composed([st.Pick(rows, "remainder", divisor), st.Pick(factor, "row")], "multiply", n)


def block_form(values: np.ndarray, starts: list[np.ndarray]) -> Trained:
    """One column a part: value j of a block is the shared array's at start + j, around its end."""
    places = [(start + j) % len(values) for start in starts for j in range(4)]
    form = Form([values] * len(places), places)
    return form, lambda form: st.block_shared(form.parts[0][:, 0], 4 * len(starts), "clicks", 4)


def lookup_speed(table: sb.EmbeddingTable, keys: np.ndarray) -> float:
    """Million rows a second of one thread: the best of rounds of look-ups of 4096 keys."""
    pieces = [keys[first : first + 4096] for first in range(0, min(len(keys), 1 << 16), 4096)]
    out = np.empty((4096, table.dim), np.float32)
    best = 0.0
    for _ in range(7):
        begin, rows = time.perf_counter(), 0
        for piece in pieces:
            table.lookup(piece, out[: len(piece)], threads=1)
            rows += len(piece)
        best = max(best, rows / (time.perf_counter() - begin) / 1e6)
    return best


def measure_clicks(folder: str, seeds: int) -> dict[str, dict[str, float]]:
    """Means over seeds: each has its own split into training and test examples."""
    found: dict[str, list[dict[str, float]]] = defaultdict(list)
    for seed in range(seeds):
        clicks = read_clicks(folder, seed)
        rng = np.random.default_rng(seed)
        n = len(clicks.counts)
        test_keys, labels = clicks.keys[clicks.test], clicks.labels[clicks.test]

        def served(table, place, rotation, head, clicks=clicks, test_keys=test_keys, labels=labels):
            keys = test_keys if place is None else place[test_keys]
            logits = head.logits(table.lookup(keys) @ rotation.T, clicks.numbers[clicks.test])
            flat = np.ascontiguousarray(keys.ravel())
            return {"bytes": table.nbytes, "auc": auc(labels, logits), "log_loss": log_loss(labels, logits),
                    "million_rows_s": lookup_speed(table, flat)}  # fmt: skip

        dense = Form([(rng.standard_normal((n, DIM)) * 0.03).astype(np.float32)], [np.arange(n)])
        head = train(clicks, dense, DIM, seed, 4)
        for name, (table, place, rotation) in stored_forms(dense.parts[0], clicks.counts).items():
            row = served(table, place, rotation, head)
            error = st.fidelity(table, dense.parts[0] @ rotation, place).relative
            found[name].append({**row, "error": error})
        for name, (form, serve) in click_forms(clicks, rng).items():
            head = train(clicks, form, DIM, seed, 4)
            table = serve(form)
            found[name].append(served(table, None, np.eye(DIM, dtype=np.float32), head))
            error = st.fidelity(table, form.values(np.arange(n))).relative
            found[name][-1]["error"] = error
    return {name: {key: float(np.mean([row[key] for row in rows])) for key in rows[0]} for name, rows in found.items()}


def film_vectors(folder: str, dim: int = 64) -> tuple[np.ndarray, np.ndarray, list[np.ndarray], np.ndarray]:
    """Item vectors by a truncated SVD of who watched what, counts, histories and the film that followed each."""
    log = np.loadtxt(Path(folder) / "ml-100k" / "u.data", dtype=np.int64)
    order = np.lexsort((log[:, 3], log[:, 0]))
    users, items = log[order, 0] - 1, log[order, 1] - 1
    ends = np.cumsum(np.bincount(users))
    histories = [items[(ends[u - 1] if u else 0) : ends[u] - 1] for u in range(len(ends))]
    seen = np.zeros((len(ends), items.max() + 1), np.float32)
    for user, history in enumerate(histories):
        seen[user, history] = 1
    counts = seen.sum(0)
    scaled = seen / np.sqrt(np.maximum(counts, 1)) / np.sqrt(seen.sum(1, keepdims=True))
    right = np.linalg.svd(scaled, full_matrices=False)[2][:dim].T
    return np.ascontiguousarray(right, np.float32), counts, histories, items[ends - 1]


def measure_films(folder: str) -> dict[str, dict[str, float]]:
    """Share of users whose next film is among the ten best new ones, through `pool` and `score`."""
    weights, counts, histories, following = film_vectors(folder)
    every = np.arange(len(weights))
    found = {}
    for name, (table, place, _) in stored_forms(weights, counts).items():
        rows = every if place is None else place
        offsets = np.concatenate([[0], np.cumsum([len(history) for history in histories])])
        profiles = table.pool(rows[np.concatenate(histories)], offsets, mode="mean")
        scores = table.score(profiles, rows)
        for user, history in enumerate(histories):
            scores[user, history] = -np.inf
        best = np.argpartition(-scores, 10, axis=1)[:, :10]
        hits = (best == following[:, None]).any(1).mean()
        found[name] = {"bytes": table.nbytes, "hit_rate_10": float(hits)}
    return found


def measure_trained(folder: str) -> dict[str, dict[str, float]]:
    """Relative error and kept neighbours of tables that others trained."""
    found: dict[str, dict[str, float]] = defaultdict(dict)
    for path in sorted((Path(folder) / "trained_tables").glob("*item*.npy")):
        weights, source = np.load(path).astype(np.float32), path.stem.split("_")[0]
        sample = np.random.default_rng(0).choice(len(weights), min(500, len(weights)), replace=False)
        true = np.argsort(-(weights[sample] @ weights.T), axis=1)[:, :10]
        for name, (table, place, axes) in stored_forms(weights, np.linalg.norm(weights, axis=1)).items():
            rows = np.arange(len(weights)) if place is None else place
            got = table.lookup(rows) @ axes.T
            near = np.argsort(-(weights[sample] @ got.T), axis=1)[:, :10]
            kept = np.mean([len(set(a) & set(b)) / 10 for a, b in zip(true, near, strict=True)])
            found[name][f"{source} error"] = float(np.linalg.norm(got - weights) / np.linalg.norm(weights))
            found[name][f"{source} neighbours"] = float(kept)
    return dict(found)


def print_table(title: str, rows: dict[str, dict[str, float]]) -> None:
    columns = list(dict.fromkeys(key for row in rows.values() for key in row))
    print(f"\n{title}\n\n| method | {' | '.join(columns)} |\n|{'---|' * (len(columns) + 1)}")
    for name, row in rows.items():
        cells = [f"{row[c]:,.0f}" if c == "bytes" else f"{row[c]:.4g}" if c in row else "" for c in columns]
        print(f"| {name} | {' | '.join(cells)} |")


def draw(path: str, clicks: dict[str, dict[str, float]], films: dict[str, dict[str, float]]) -> None:
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(1, 2, figsize=(15, 8), layout="constrained")
    for axis, rows, quality, title in (
        (axes[0], clicks, "auc", "click prediction (criteo_10k): AUC"),
        (axes[1], films, "hit_rate_10", "next film (ml-100k): hit rate at 10"),
    ):
        nothing = [(name, rows[name][quality]) for name in rows if not rows[name]["bytes"]]
        rows = {name: row for name, row in rows.items() if row["bytes"]}  # noqa: PLW2901
        families = sorted({name.split()[0] for name in rows})
        for number, family in enumerate(families):
            points = [(row["bytes"], row[quality], name) for name, row in rows.items() if name.split()[0] == family]
            xs, ys, _ = zip(*sorted(points), strict=True)
            axis.plot(xs, ys, "o-", color=plt.cm.tab20(number % 20), label=family)
        beside = "".join(f"; {name}, of 0 bytes: {value:.4f}" for name, value in nothing)
        axis.set(xscale="log", xlabel=f"bytes of the table{beside}", title=title)
        axis.grid(alpha=0.3)
        axis.margins(0.08)
        axis.xaxis.set_major_formatter(lambda x, _: f"{x:,.0f}")
        axis.xaxis.set_minor_formatter(lambda x, _: "")
        colours = {family: plt.cm.tab20(number % 20) for number, family in enumerate(families)}
        label(
            figure, axis, [(row["bytes"], row[quality], name, colours[name.split()[0]]) for name, row in rows.items()]
        )
    figure.savefig(path, dpi=110)


def label(figure: Any, axis: Any, points: list[tuple[float, float, str, Any]]) -> None:
    """Names beside their points: the nearest place where a name covers no other and no point, with a line to it."""
    from matplotlib.transforms import Bbox

    figure.canvas.draw()
    places: dict[tuple[float, float], list[str]] = {}  # on the screen; points that lie together share a name
    colours = {}
    for x, y, name, colour in points:
        at = axis.transData.transform((x, y))
        near = next((other for other in places if np.hypot(*np.subtract(at, other)) < 4), tuple(at))
        places.setdefault(near, []).append(name)
        colours[near] = [0.6 * part for part in colour[:3]]
    taken = [Bbox.from_bounds(x - 7, y - 7, 14, 14) for x, y in places]
    turns = [np.pi / 4 + np.pi / 8 * turn * side for turn in range(9) for side in (1, -1)]
    for at, names in sorted(places.items()):
        arrow = {"arrowstyle": "-", "lw": 0.5, "color": colours[at], "shrinkB": 0}
        text = axis.annotate(
            ", ".join(names), axis.transData.inverted().transform(at), xytext=(0, 0), textcoords="offset points",
            fontsize=7, color=colours[at], va="center", ha="center", arrowprops=arrow,
        )  # fmt: skip
        box = text.get_window_extent().padded(2)
        for away, turn in product(range(10, 90, 6), turns):
            # the box's centre: its nearest side is so far from the point
            centre = np.add(at, [(away + box.width / 2) * np.cos(turn), (away + box.height / 2) * np.sin(turn)])
            place = Bbox.from_bounds(*(centre - [box.width / 2, box.height / 2]), box.width, box.height)
            inside = axis.bbox.x0 < place.x0 and place.x1 < axis.bbox.x1 and axis.bbox.y0 < place.y0
            if inside and place.y1 < axis.bbox.y1 and not any(place.overlaps(other) for other in taken):
                break
        text.set_position((centre - at) * 72 / figure.dpi)
        taken.append(place)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--json")
    parser.add_argument("--picture")
    parser.add_argument(
        "--redraw", metavar="JSON", help="draw the picture of an earlier run's --json, and nothing else"
    )
    args = parser.parse_args()
    if args.redraw:
        results = json.loads(Path(args.redraw).read_text())
        return draw(args.picture, results["click prediction"], results["next film"])
    folder = os.path.join(os.environ.get("SEMBLANCE_DATA", ""), "local")
    results = {}
    for title, needs, call in (
        ("click prediction", "criteo_10k", lambda: measure_clicks(folder, args.seeds)),
        ("next film", "ml-100k", lambda: measure_films(folder)),
        ("trained tables", "trained_tables", lambda: measure_trained(folder)),
    ):
        if not (Path(folder) / needs).is_dir():
            print(f"{title}: left out, no local/{needs} in SEMBLANCE_DATA")
            continue
        results[title] = call()
        print_table(title, results[title])
    if args.json:
        Path(args.json).write_text(json.dumps(results, indent=1))
    if args.picture and {"click prediction", "next film"} <= results.keys():
        draw(args.picture, results["click prediction"], results["next film"])


if __name__ == "__main__":
    main()
