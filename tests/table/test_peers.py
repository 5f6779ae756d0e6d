"""The same bits as FBGEMM's table-batched embeddings, where fbgemm-gpu-cpu is installed (it is no dependency)."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np
import pytest

import semblance as sb

pytest.importorskip("fbgemm_gpu", reason="needs torch and fbgemm-gpu-cpu, see bench/tables/run.py")


def fbgemm(dtype: str, tables: list[sb.EmbeddingTable]):
    path = Path(__file__).parents[2] / "bench" / "tables" / "peers.py"
    spec = importlib.util.spec_from_file_location("peers", path)
    assert spec is not None
    assert spec.loader is not None
    peers = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(peers)
    return peers.Fbgemm(dtype, tables)


@pytest.mark.parametrize("spread", [1e-3, 1.0, 1e3])
@pytest.mark.parametrize("dim", [16, 48, 64, 128, 272])
@pytest.mark.parametrize("dtype", ["i8", "i4", "i2"])
def test_sums_are_the_same_bits(dtype, dim, spread):
    rng = np.random.default_rng(dim)
    weights = [(rng.standard_normal((500, dim)) * spread).astype(np.float32) for _ in range(3)]
    tables = [sb.EmbeddingTable.from_dense(rows, dtype) for rows in weights]
    offsets = np.concatenate([[0], np.cumsum(rng.integers(0, 60, 40))]).astype(np.int64)
    bags = [(rng.integers(0, 500, offsets[-1]), offsets) for _ in tables]
    expected = fbgemm(dtype, tables).prepare(bags)()
    group = sb.TableGroup({f"t{i}": table for i, table in enumerate(tables)})
    for threads in (1, 2):
        got = group.lookup({f"t{i}": bag for i, bag in enumerate(bags)}, threads=threads)
        np.testing.assert_array_equal(got.view(np.uint32), expected.view(np.uint32))
