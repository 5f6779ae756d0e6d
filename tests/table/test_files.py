"""Saving and loading, mapped or not, and damaged or foreign files."""

from __future__ import annotations

import os
import subprocess
import sys

import numpy as np
import pytest

import semblance as sb
from semblance.tables import EmbeddingTable

FORMATS = ("f32", "f16", "bf16", "i8", "i4", "i2", "fp8")


def sample(dtype: str = "i8", keys: str = "rows") -> EmbeddingTable:
    weights = np.random.default_rng(0).standard_normal((50, 19)).astype(np.float32)
    own = {"rows": None, "int64": np.arange(50) * 7 - 100, "str": [f"key {i}" for i in range(50)]}[keys]
    padding = {"rows": 3, "int64": 5, "str": "key 3"}[keys]
    return EmbeddingTable.from_dense(weights, dtype, keys=own, missing="mean", padding=padding)


@pytest.mark.parametrize("dtype", FORMATS)
@pytest.mark.parametrize("keys", ["rows", "int64", "str"])
@pytest.mark.parametrize("mmap", [False, True])
def test_round_trip(tmp_path, dtype, keys, mmap):
    built = sample(dtype, keys)
    built.save(tmp_path / "t.sb")
    loaded = EmbeddingTable.load(tmp_path / "t.sb", mmap=mmap)
    wanted = [f"key {i}" for i in range(60)] if keys == "str" else np.arange(-110, 300)
    np.testing.assert_array_equal(loaded.lookup(wanted), built.lookup(wanted))
    assert loaded.nbytes == built.nbytes
    assert repr(loaded) == repr(built)


@pytest.mark.parametrize("rows", [20_000, 24_000, 31_000, 33_000, 49_000, 62_000, 70_000])
def test_rows_around_a_huge_page(tmp_path, rows):
    """1.4 to 4.8 MB: some lie in huge pages of their own, made and loaded alike, and none changes by it."""
    weights = np.random.default_rng(rows).standard_normal((rows, 64)).astype(np.float32)
    table, path = EmbeddingTable.from_dense(weights), tmp_path / "table.safetensors"
    table.save(path)
    keys = np.array([0, 1, rows // 2, rows - 1])
    expected = EmbeddingTable.from_dense(weights[keys]).lookup(np.arange(4))
    for again in (table, EmbeddingTable.load(path), EmbeddingTable.load(path, mmap=True)):
        np.testing.assert_array_equal(again.lookup(keys), expected)
        assert again.nbytes == rows * 68


@pytest.mark.parametrize("rows", [50, 5_000, 20_000, 70_000])
def test_buckets_are_cache_lines(tmp_path, rows):
    """Made, loaded, mapped or compacted: a bucket that lay across two lines would be waited for twice."""
    keys, path = np.arange(rows) * 5, tmp_path / "table.safetensors"
    table = EmbeddingTable.from_dense(np.ones((rows, 16), np.float32), keys=keys)
    table.save(path)
    loaded = EmbeddingTable.load(path)
    with loaded.writer() as writer:
        writer.upsert(keys[:1], np.zeros((1, 16), np.float32))
    loaded.compact()
    for each in (table, EmbeddingTable.load(path), EmbeddingTable.load(path, mmap=True), loaded):
        assert each._generation.buckets.ctypes.data % 64 == 0


def test_tables_outlive_their_neighbours(tmp_path):
    """Rows of 400 kB share memory with those of other tables, which may go in any order."""
    rng = np.random.default_rng(0)
    weights = rng.standard_normal((8, 20_000, 16)).astype(np.float32)
    tables = {i: EmbeddingTable.from_dense(weights[i], keys=rng.permutation(20_000)) for i in range(len(weights))}
    expected = {i: table.lookup(np.arange(20_000)) for i, table in tables.items()}
    for i in rng.permutation(len(weights)):
        del tables[int(i)]
        tables[100 + int(i)] = EmbeddingTable.from_dense(np.full((20_000, 16), i, np.float32), "f32")
        for j, table in tables.items():
            if j < 100:
                np.testing.assert_array_equal(table.lookup(np.arange(20_000)), expected[j])


def test_mapped_rows_are_not_copied(tmp_path):
    sample().save(tmp_path / "t.sb")
    rows = EmbeddingTable.load(tmp_path / "t.sb", mmap=True)._generation.rows
    while isinstance(rows, np.ndarray) and not isinstance(rows, np.memmap):
        assert not rows.flags.owndata
        rows = rows.base


def test_cut_and_flipped_files(tmp_path):
    path = tmp_path / "t.sb"
    sample(keys="int64").save(path)
    whole = path.read_bytes()
    rng = np.random.default_rng(0)
    for _ in range(150):
        broken = bytearray(whole[: rng.integers(0, len(whole))] if rng.random() < 0.3 else whole)
        if broken:
            broken[rng.integers(0, len(broken))] ^= 1 << rng.integers(0, 8)
        path.write_bytes(bytes(broken))
        with pytest.raises(sb.FormatError):
            EmbeddingTable.load(path)


def test_unverified_damage_never_crashes(tmp_path):
    """Without checksums any bucket bytes must be safe to walk."""
    tensors, meta = sample(keys="int64")._tensors()
    rng = np.random.default_rng(0)
    for _ in range(200):
        buckets = tensors["buckets"].copy()
        if rng.random() < 0.5:
            buckets[:] = rng.integers(0, 256, buckets.shape)
        else:
            buckets[rng.integers(0, len(buckets)), rng.integers(0, 64)] ^= 255
        hurt = EmbeddingTable._from_tensors({**tensors, "buckets": buckets}, meta)
        assert np.isfinite(hurt.lookup(np.arange(-200, 400))).all()


@pytest.mark.parametrize(
    ("entry", "value", "message"),
    [
        ("kind", "index", "expected kind"),
        ("table_version", "99", "newer"),
        ("dtype", "i3", "expected a dtype"),
        ("dim", "18", "tensor 'rows'"),
        ("dim", "many", "complete metadata"),
        ("keys", "float", "complete metadata"),
        ("padding", "x", "complete metadata"),
    ],
)
def test_foreign_metadata(entry, value, message):
    tensors, meta = sample()._tensors()
    with pytest.raises(sb.FormatError, match=message):
        EmbeddingTable._from_tensors(tensors, {**meta, entry: value})
    with pytest.raises(sb.FormatError):
        EmbeddingTable._from_tensors({}, meta)


PRINT_BITS = """
import hashlib, numpy as np
from semblance.tables import EmbeddingTable
rng, digest = np.random.default_rng(0), hashlib.sha256()
for dim in (1, 5, 16, 31, 64, 100, 130):
    weights = rng.standard_normal((40, dim)).astype(np.float32)
    values, factors = rng.integers(0, 40, 300), rng.standard_normal(300).astype(np.float32)
    for dtype in ("f32", "f16", "bf16", "i8", "i4", "i2", "fp8"):
        table = EmbeddingTable.from_dense(weights, dtype)
        digest.update(table.lookup(values).tobytes())
        digest.update(table.score(weights[0], values).tobytes())
        for mode in ("sum", "mean", "max"):
            digest.update(table.pool(values, [0, 100, 300], None if mode == "max" else factors, mode).tobytes())
print(digest.hexdigest())
"""


def test_every_instruction_set_gives_the_same_bits():
    seen = {}
    for isa in ("scalar", "neon", "avx2", "avx512vnni"):
        run = subprocess.run(
            [sys.executable, "-c", PRINT_BITS], env={**os.environ, "SEMBLANCE_ISA": isa}, capture_output=True,
            text=True, check=False,
        )  # fmt: skip
        if run.returncode == 0:
            seen[isa] = run.stdout
        else:
            assert "UnsupportedError" in run.stderr, run.stderr
    assert "scalar" in seen
    assert len(set(seen.values())) == 1, seen
