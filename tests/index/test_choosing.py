"""codes="auto": measured on a sample of the rows, within a budget, the same at any thread count."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from brute_force import sample

import semblance as sb
from semblance import choosing

pytestmark = pytest.mark.once

D = 96
F32 = npt.NDArray[np.float32]


@pytest.fixture
def eager(monkeypatch: pytest.MonkeyPatch) -> None:
    """Small builds measure too, on few rows."""
    monkeypatch.setattr(choosing, "LEAST", 0)
    monkeypatch.setattr(choosing, "_SAMPLE", 600)
    monkeypatch.setattr(choosing, "_QUERIES", 60)


def test_small_builds_take_the_usual_codes_unmeasured() -> None:
    index = sb.Index.build(sample("l2", 300, D), metric="l2")
    assert (index.codes, index.rerank) == ("b1", "f32")
    assert index.choice is not None
    assert index.choice.measured == []


@pytest.mark.parametrize("metric", ["cosine", "ip", "l2"])
def test_the_first_that_will_do_is_taken(eager: None, metric: str) -> None:
    index = sb.Index.build(sample(metric, 900, D), metric=metric, recall=0.9)
    choice = index.choice
    assert choice is not None
    assert choice.reached
    assert (index.codes, index.rerank) == (choice.codes, choice.rerank) == choice.measured[-1][:2]
    assert all(row[3] < 0.9 for row in choice.measured[:-1])
    assert choice.measured[-1][3] >= 0.9


def test_a_budget_bounds_the_index(eager: None) -> None:
    rows = sample("cosine", 1200, D)
    sizes = []
    for share in (8.0, 2.0, 1.0, 0.75):
        index = sb.Index.build(rows, memory=int(rows.nbytes * share), recall=0.8)
        sizes.append(sum(index.stats()["bytes"].values()))
        assert sizes[-1] <= rows.nbytes * share * 1.1
    assert sizes == sorted(sizes, reverse=True)
    assert sizes[-1] < sizes[0]
    with pytest.raises(sb.ArgumentError, match=r"memory: expected at least [\d,]+ bytes for 1,200 rows .*, got 1,000"):
        sb.Index.build(rows, memory=1000)


def test_the_best_is_taken_where_none_will_do(eager: None) -> None:
    rows = np.random.default_rng(0).normal(size=(1500, D)).astype(np.float32)
    index = sb.Index.build(rows, recall=1.0, memory=int(rows.nbytes * 0.8))
    choice = index.choice
    assert choice is not None
    assert choice.reached == (choice.recall <= max(row[3] for row in choice.measured))
    assert max(choice.measured, key=lambda row: row[3])[:2] == (index.codes, index.rerank)


@pytest.mark.parametrize(("codes", "rerank"), [("b1", "f16"), ("i4", "i8"), ("i4", "f16"), ("i8", None), ("f32", None)])
@pytest.mark.parametrize("d", [32, 100, 384])
def test_the_model_of_memory_is_right(codes: str, rerank: str | None, d: int) -> None:
    rows = sample("cosine", 3000, d)
    index = sb.Index.build(rows, codes=codes, rerank=rerank, ef_construction=40)
    told = choosing.bytes_a_row(codes, rerank, d, 32) * 3000
    assert told == pytest.approx(sum(index.stats()["bytes"].values()), rel=0.08)


def test_threads_change_nothing(eager: None, tmp_path: Path) -> None:
    rows = sample("l2", 900, D)
    files, choices = set(), set()
    for threads in (1, 2, 4):
        index = sb.Index.build(rows, metric="l2", memory=rows.nbytes, threads=threads)
        index.save(tmp_path / "a.sb")
        files.add((tmp_path / "a.sb").read_bytes())
        choices.add(repr(index.choice))
    assert len(files) == len(choices) == 1


@pytest.mark.parametrize(
    ("change", "finer"),
    [
        (lambda rows: rows, "f16"),
        (lambda rows: rows * 1e5, "f32"),  # out of its range
        (lambda rows: rows + 500, "f32"),  # too coarse so far from zero
        (lambda rows: rows * 1e-7, "f32"),  # below its normal numbers
        (lambda rows: rows * 1e-9, "f32"),  # all of them zeros in it
    ],
)
def test_half_precision_where_it_tells_the_rows_apart(eager: None, change: Callable[[F32], F32], finer: str) -> None:
    rows = change(sample("l2", 900, D))
    index = sb.Index.build(rows, metric="l2", recall=0.5)
    assert (index.codes, index.rerank) == ("b1", finer)
    queries, truth = rows[:50], sb.exact(rows, rows[:50], 1, metric="l2").ids
    assert (index.search(queries, 1, exact=True).ids == truth).all()


@pytest.mark.parametrize("finer", [None, "i8", "f32"])
def test_a_named_finer_copy_is_kept(eager: None, finer: str | None) -> None:
    index = sb.Index.build(sample("l2", 900, D), metric="l2", rerank=finer, recall=0.5)
    assert index.rerank == finer


def test_what_needs_no_choice_gets_none() -> None:
    rows = sample("l2", 50, 16)
    assert sb.Index.build(rows, metric="l2", codes="i8").choice is None
    assert sb.Index.build(rows, metric="l2", kind="flat").choice is None
    assert sb.Index.build(sample("hamming", 50, 64), metric="hamming").choice is None


@pytest.mark.parametrize("options", [{"codes": "i8"}, {"kind": "flat"}])
def test_a_budget_beside_named_codes_is_refused(options: dict[str, str]) -> None:
    with pytest.raises(sb.ArgumentError, match="memory: expected None"):
        sb.Index.build(sample("l2", 50, 16), metric="l2", memory=10**9, **options)


def test_bad_rows_are_named_as_ever(eager: None) -> None:
    rows = sample("cosine", 900, D)
    rows[3] = 0
    with pytest.raises(sb.ArgumentError, match=r"vectors\[3\]"):
        sb.Index.build(rows)
    with pytest.raises(sb.ArgumentError, match="recall: expected"):
        sb.Index.build(rows, recall=2.0)
    with pytest.raises(sb.ArgumentError, match="memory: expected"):
        sb.Index.build(rows, memory=0)
