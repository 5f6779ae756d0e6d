"""Tables of released format versions stay readable: same rows, same keys; and they can be changed and written again."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import semblance as sb

# Of tests/golden/make_v1.py, written again here so that both must agree.
ROW, COLUMN = np.arange(60)[:, None], np.arange(12)[None]
NUMBERS = ((ROW * 7 + COLUMN * 5 + ROW * COLUMN * 3 + ROW * ROW) % 151 % 9 - 4).astype(np.float32)
GOLDEN = Path(__file__).parents[1] / "golden" / "v1"


@pytest.fixture(params=[False, True], ids=["read", "mmap"])
def mmap(request: pytest.FixtureRequest) -> bool:
    return request.param


def test_numbers(mmap: bool) -> None:
    table = sb.EmbeddingTable.load(GOLDEN / "table-numbers.sb", mmap=mmap)
    wanted = NUMBERS[:50].copy()
    wanted[1], wanted[2] = NUMBERS[0] + 1, 0  # replaced; removed
    np.testing.assert_allclose(table.lookup(np.arange(50) * 11), wanted, atol=0.02)
    np.testing.assert_allclose(table.lookup([5, 12345]), [NUMBERS[1] + 1, np.zeros(12)], atol=0.02)
    assert 22 not in table
    assert 5 in table


def test_words(mmap: bool) -> None:
    table = sb.EmbeddingTable.load(GOLDEN / "table-words.sb", mmap=mmap)
    np.testing.assert_array_equal(table.lookup([f"key {i}" for i in range(40)]), NUMBERS[:40, :9])
    np.testing.assert_allclose(table.lookup(["none"])[0], NUMBERS[:40, :9].mean(axis=0), atol=0.01)


def test_product_codes(mmap: bool) -> None:
    table = sb.EmbeddingTable.load(GOLDEN / "table-product.sb", mmap=mmap)
    found = table.lookup(np.arange(60))
    assert found.shape == (60, 8)
    assert np.square(found - NUMBERS[:, :8]).sum() < 0.3 * np.square(NUMBERS[:, :8]).sum()


@pytest.mark.parametrize("name", sorted(path.name for path in GOLDEN.glob("table-*.sb")))
def test_they_are_written_again(name: str, tmp_path: Path) -> None:
    before = (GOLDEN / name).read_bytes()
    table = sb.EmbeddingTable.load(GOLDEN / name)
    keys = [f"key {i}" for i in range(9)] if "words" in name else [0, 11]
    table.save(tmp_path / name)
    np.testing.assert_array_equal(sb.EmbeddingTable.load(tmp_path / name).lookup(keys), table.lookup(keys))
    assert (GOLDEN / name).read_bytes() == before
