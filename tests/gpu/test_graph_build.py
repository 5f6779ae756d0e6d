"""Index.build(device="cuda"): a graph linked on the card is the CPU's kind of graph."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from brute_force import recall_with_ties

import semblance as sb
from semblance.gpu import graph_build


def rows(n: int, d: int, seed: int = 0) -> Any:
    rng = np.random.default_rng(seed)
    centres = rng.standard_normal((20, d)) * 2
    return (centres[rng.integers(0, 20, n)] + rng.standard_normal((n, d))).astype(np.float32)


def recall(index: sb.Index, vectors: Any, queries: Any, metric: str) -> float:
    truth = sb.exact(vectors, queries, 10, metric).ids
    found = index.search(queries, 10, ef=64).ids
    return float(np.mean([len(set(a) & set(b)) / 10 for a, b in zip(found, truth, strict=True)]))


@pytest.mark.parametrize(("metric", "codes"), [("cosine", "i8"), ("l2", "f32"), ("ip", "f32"), ("l2", "b1")])
def test_it_finds_what_the_cpus_graph_finds(gpu: ModuleType, metric: str, codes: str) -> None:
    vectors, queries = rows(700, 16), rows(50, 16, 1)
    params: dict[str, Any] = {"metric": metric, "codes": codes, "max_degree": 16, "ef_construction": 64}
    index = sb.Index.build(vectors, device="cuda", **params)
    report = index.check()
    assert report.ok, report.problems
    assert report.reachable == 700
    twin = sb.Index.build(vectors, **params)
    assert recall(index, vectors, queries, metric) >= min(
        0.97, recall(twin, vectors, queries, metric) - 0.03
    )  # of 500 answers


@pytest.mark.parametrize("codes", ["f32", "b1"])
def test_walks_leave_groups_of_copies(gpu: ModuleType, codes: str) -> None:
    vectors, queries = np.repeat(rows(30, 16), 30, axis=0), rows(40, 16, 1)
    share = {}
    for device in ("cpu", "cuda"):
        index = sb.Index.build(vectors, metric="l2", codes=codes, max_degree=16, device=device)
        assert index.check().reachable == 900
        share[device] = recall_with_ties(vectors, queries, index.search(queries, 10, ef=64).ids, "l2")
    assert share["cuda"] >= share["cpu"] - 0.1  # without the rule of copies 0.4 less


def test_the_file_is_the_same_each_time_and_the_index_goes_on(gpu: ModuleType, tmp_path: Path) -> None:
    vectors = rows(300, 8)
    ids = np.arange(300) * 3
    for name in ("one", "two"):
        sb.Index.build(vectors, ids, metric="l2", codes="f32", device="cuda", seed=5).save(tmp_path / name)
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()
    index = sb.Index.load(tmp_path / "one")
    index.add(vectors[:5] + 100, [1, 2, 4, 5, 7])
    assert index.search(vectors[:1] + 100, 1).ids.tolist() == [[1]]
    assert index.search(vectors[7:8], 1).ids.tolist() == [[21]]
    assert index.check().ok


def test_beyond_all_pairs_rows_are_compared_in_parts(gpu: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(graph_build, "ALL_PAIRS", 400)
    monkeypatch.setattr(graph_build, "PART_ROWS", 200)
    vectors, queries = rows(600, 12), rows(40, 12, 1)
    index = sb.Index.build(vectors, metric="l2", codes="f32", device="cuda")
    assert index.check().reachable == 600
    assert recall(index, vectors, queries, "l2") >= 0.95


def test_few_rows_and_bad_arguments(gpu: ModuleType) -> None:
    assert len(sb.Index.build(np.zeros((0, 4), np.float32), metric="l2", device="cuda")) == 0
    seen: list[tuple[int, int]] = []
    one = sb.Index.build(
        np.ones((1, 4), np.float32), metric="l2", device="cuda", progress=lambda done, total: seen.append((done, total))
    )
    assert seen[-1] == (1, 1)
    assert one.search(np.ones((1, 4)), 2).ids.tolist() == [[0, -1]]
    with pytest.raises(sb.ArgumentError, match="device: expected one of cpu, cuda, got 'gpu'"):
        sb.Index.build(np.ones((2, 4)), device="gpu")
    with pytest.raises(sb.ArgumentError, match="device: expected 'cpu' for a flat index or packed bits"):
        sb.Index.build(np.ones((2, 4)), kind="flat", device="cuda")
    bad = np.ones((3, 4), np.float32)
    bad[1] = np.nan
    with pytest.raises(sb.ArgumentError, match=r"vectors\[1\]: expected finite"):
        sb.Index.build(bad, metric="l2", codes="f32", device="cuda")


def test_foreign_links_are_refused() -> None:
    native = sb.Index(4, "l2", codes="f32", max_degree=8)._native
    vectors = np.eye(4, dtype=np.float32)
    nodes = np.arange(4, dtype=np.uint32)
    for value, message in [(9, "different other nodes"), (0, "different other nodes")]:
        links = np.full((4, 8), 0xFFFFFFFF, np.uint32)
        links[0, 0] = value
        with pytest.raises(sb.ArgumentError, match=message):
            native.add_linked(vectors, None, [(nodes, links)], 1, None)
    with pytest.raises(sb.ArgumentError, match="lists: expected"):
        native.add_linked(vectors, None, [(nodes, np.zeros((4, 3), np.uint32))], 1, None)
    assert len(native) == 0


@pytest.mark.skipif(sb.gpu.is_available(), reason="there is a GPU")
def test_without_a_card_the_reason_is_said() -> None:
    with pytest.raises(sb.UnsupportedError, match=r"Index\.build\(device='cuda'\): expected .*, got none: "):
        sb.Index.build(np.eye(4), codes="f32", device="cuda")


@pytest.mark.skipif(find_spec("semblance._cuda") is not None, reason="this build has the CUDA kernels")
def test_a_build_without_kernels_says_how_to_get_them() -> None:
    assert sb.gpu.reason() == "this build of semblance has no CUDA kernels (extension module semblance._cuda)"
    with pytest.raises(sb.UnsupportedError, match=r"docs/gpu\.md says how to build them"):
        sb.gpu.FlatIndex(4)
