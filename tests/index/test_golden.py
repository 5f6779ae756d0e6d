"""Files of released format versions stay readable: same parameters, same rows, same answers."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from brute_force import nearest

import semblance as sb

# Of tests/golden/make_v1.py: whole numbers by a rule, written again here so that both must agree.
ROW, COLUMN = np.arange(150)[:, None], np.arange(64)[None]
NUMBERS = ((ROW * 7 + COLUMN * 5 + ROW * COLUMN * 3 + ROW * ROW) % 151 % 9 - 4).astype(np.float32)
DIRECTIONS, POINTS, BITS = NUMBERS[:, :16] + 0.5, NUMBERS[:100, :12], np.packbits(NUMBERS > 0, axis=1)


@pytest.fixture(params=[False, True], ids=["read", "mmap"])
def mmap(request: pytest.FixtureRequest) -> bool:
    return request.param


def test_hnsw_cosine(golden: Path, mmap: bool) -> None:
    index = sb.Index.load(golden / "index-hnsw-cosine.sb", mmap=mmap)
    expected = {"d": "16", "metric": "cosine", "kind": "hnsw", "codes": "i8", "rerank": "f16", "max_degree": "8",
                "ef_construction": "40", "seed": "3", "ef": 77, "rows": 150, "live": 147}  # fmt: skip
    assert expected.items() <= index.stats().items()
    assert index.metadata == {"made_by": "tests/golden/make_v1.py"}
    kept = np.setdiff1d(np.arange(150), [0, 10, 149])
    np.testing.assert_array_equal(index.ids(), kept * 2)
    unit = DIRECTIONS / np.linalg.norm(DIRECTIONS, axis=1, keepdims=True)
    np.testing.assert_allclose(index.get(kept * 2), unit[kept], atol=5e-4)
    near = nearest(DIRECTIONS[kept], DIRECTIONS[:30], 5, "cosine")[1]
    for options in ({"exact": True}, {"ef": 147}):
        np.testing.assert_allclose(index.search(DIRECTIONS[:30], 5, **options).distances, near, atol=1e-3)
    first = index.search(DIRECTIONS[5:8], 1)
    assert np.isin(first.ids[:, 0] // 2, kept).all()
    np.testing.assert_allclose(first.distances[:, 0], 0, atol=1e-3)
    assert index.check().ok


def test_flat_l2(golden: Path, mmap: bool) -> None:
    index = sb.Index.load(golden / "index-flat-l2.sb", mmap=mmap)
    assert (index.kind, index.metric, index.codes, index.rerank) == ("flat", "l2", "f32", None)
    assert (index.dim, len(index)) == (12, 100)
    now = np.concatenate([POINTS[4::-1], POINTS[5:]])
    np.testing.assert_array_equal(index.get(np.arange(1000, 1100)), now)
    hits = index.search(POINTS[:20], 6)
    np.testing.assert_array_equal(hits.distances, nearest(now, POINTS[:20], 6, "l2")[1])
    assert (hits.ids >= 1000).all()
    assert index.stats()["rows"] == 105


def test_hnsw_hamming(golden: Path, mmap: bool) -> None:
    index = sb.Index.load(golden / "index-hnsw-hamming.sb", mmap=mmap)
    assert (index.kind, index.metric, index.codes, index.dim, len(index)) == ("hnsw", "hamming", "b1", 64, 150)
    np.testing.assert_array_equal(index.get(np.arange(150)), BITS)
    near = nearest(BITS, BITS[:30], 5, "hamming")[1]
    for options in ({"exact": True}, {"ef": 150}):
        np.testing.assert_array_equal(index.search(BITS[:30], 5, **options).distances, near)


def test_neighbour_codes(golden: Path, mmap: bool) -> None:
    index = sb.Index.load(golden / "index-neighbour-codes.sb", mmap=mmap)
    assert (index.codes, index.rerank, index.metric, index.dim, len(index)) == ("b1", "f16", "l2", 32, 59)
    rows, kept = NUMBERS[:60, :32], np.setdiff1d(np.arange(60), [3])
    np.testing.assert_array_equal(index.ids(), kept * 3)
    np.testing.assert_array_equal(index.get(kept * 3), rows[kept])
    near = nearest(rows[kept], rows[:20], 5, "l2")[1]
    for options in ({"exact": True}, {"ef": 60}):
        np.testing.assert_array_equal(index.search(rows[:20], 5, **options).distances, near)
    assert index.check().ok


def test_split_rows(golden: Path, mmap: bool) -> None:
    index = sb.Index.load(golden / "index-hnsw-i4.sb", mmap=mmap)
    assert (index.codes, index.rerank, index.metric, len(index)) == ("i4", "i8", "ip", 149)
    kept = np.setdiff1d(np.arange(150), [2])
    np.testing.assert_allclose(index.get(kept + 7), NUMBERS[kept, :20], atol=4 / 127 / 2 * 1.01)
    near = nearest(NUMBERS[kept, :20], NUMBERS[:30, :20], 5, "ip")[1]
    for options in ({"exact": True}, {"ef": 149}):
        np.testing.assert_allclose(index.search(NUMBERS[:30, :20], 5, **options).distances, near, atol=2.0)


NAMES = sorted(path.name for path in (Path(__file__).parents[1] / "golden" / "v1").glob("index-*.sb"))


@pytest.mark.parametrize("name", NAMES)
def test_they_take_changes_and_are_written_again(golden: Path, tmp_path: Path, name: str, mmap: bool) -> None:
    before = (golden / name).read_bytes()
    assert len(before) < 50_000
    index = sb.Index.load(golden / name, mmap=mmap)
    index.save(tmp_path / name)
    assert sb.Index.load(tmp_path / name).ids().tolist() == index.ids().tolist()
    last = index.ids()[-1:]
    row = index.get(last)
    index.remove(last)
    assert index.add(row)[0] > last[0]
    index.compact()
    assert index.check().ok
    assert (golden / name).read_bytes() == before


def test_a_fresh_index_over_the_same_rows_answers_the_same(golden: Path) -> None:
    index = sb.Index.load(golden / "index-flat-l2.sb")
    fresh = sb.Index(12, metric="l2", kind="flat")
    fresh.add(index.get(index.ids()), index.ids())
    for a, b in zip(index.search(POINTS, 7), fresh.search(POINTS, 7), strict=True):
        np.testing.assert_array_equal(a, b)


def test_any_tool_of_the_ecosystem_opens_them(golden: Path) -> None:
    safe = pytest.importorskip("safetensors.numpy")
    tensors = safe.load_file(golden / "index-flat-l2.sb")
    np.testing.assert_array_equal(tensors["codes"].reshape(105, 12)[5:100], POINTS[5:])
