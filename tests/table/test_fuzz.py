"""Valid calls broken in one place at random: each is refused with an error of the package and changes nothing.

SEMBLANCE_FUZZ multiplies the number of cases, for runs under a sanitizer.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import semblance as sb
from semblance import tables as st
from semblance.tables import EmbeddingTable

CASES = 250 * int(os.environ.get("SEMBLANCE_FUZZ", "1"))
Rng = np.random.Generator
FAR = np.array([-1, -2, -(2**31), 2**31, 2**32, 2**62, 2**63 - 1, -(2**63)])


def normal(rng: Rng, *shape: int) -> np.ndarray:
    return rng.standard_normal(shape).astype(np.float32)


def any_table(rng: Rng) -> EmbeddingTable:
    """A table of any kind under row numbers that refuses unknown ones."""
    rows, dim = int(rng.integers(1, 60)), int(rng.choice([1, 2, 3, 7, 8, 15, 16, 17, 33, 64]))
    weights = normal(rng, rows, dim)
    kind = rng.integers(0, 8)
    if kind == 0:
        return st.pruned(weights, rng.integers(-1, rows, 2 * rows))
    if kind == 1:
        return st.mixed([weights, normal(rng, 5, 2 * dim)], dtype="i4")
    if kind == 2:
        return st.quotient_remainder(
            weights, normal(rng, 4, dim), combine=str(rng.choice(["multiply", "sum", "concat"]))
        )
    if kind == 3:
        return st.from_codes([weights, weights], rng.integers(0, rows, (rows, 2)), "sum")
    if kind == 4:
        return st.seeded(dim, rows)
    return EmbeddingTable.from_dense(weights, str(rng.choice(["f32", "f16", "bf16", "i8", "i4", "i2", "fp8"])))


def valid_pool(rng: Rng, table: EmbeddingTable) -> dict[str, Any]:
    bags = int(rng.integers(1, 12))
    offsets = np.concatenate([[0], np.cumsum(rng.integers(0, 50, bags))]).astype(np.int64)
    values = rng.integers(0, len(table), offsets[-1])
    mode = str(rng.choice(["sum", "mean", "max"]))
    weights = normal(rng, len(values)) if mode != "max" and rng.random() < 0.5 else None
    return {"values": values, "offsets": offsets, "weights": weights, "mode": mode}


def moved(array: np.ndarray, rng: Rng, value: Any) -> np.ndarray:
    changed = array.copy()
    changed[rng.integers(0, len(changed))] = value
    return changed


def break_offsets(call: dict[str, Any], rng: Rng) -> None:
    offsets, defect = call["offsets"], rng.integers(0, 7)
    if defect == 0:
        call["offsets"] = offsets + int(rng.integers(1, 100))
    elif defect == 1:
        call["offsets"] = np.append(offsets[:-1], offsets[-1] + int(rng.choice([1, 7, 2**31, 2**62])))
    elif defect == 2:
        call["offsets"] = np.append(offsets, offsets[-1] - 1)
    elif defect == 3:
        call["offsets"] = np.insert(offsets, int(rng.integers(1, len(offsets) + 1)), rng.choice(FAR))
    elif defect == 4:
        call["offsets"] = offsets[:0]
    elif defect == 5:
        call["offsets"] = offsets.astype(np.float32)
    else:
        call["offsets"] = np.stack([offsets, offsets])


def break_values(call: dict[str, Any], rng: Rng, table: EmbeddingTable) -> None:
    values = call["values"]
    if not len(values):
        call["values"], call["offsets"] = np.array([len(table)]), np.array([0, 1])
        call["weights"] = None
        return
    beyond = len(table) + int(rng.integers(0, 3))
    wrong = [moved(values, rng, rng.choice(FAR)), moved(values, rng, beyond), values.astype(np.float64), values[None]]
    call["values"] = wrong[rng.integers(0, len(wrong))]


def break_weights(call: dict[str, Any], rng: Rng) -> None:
    call["mode"] = "sum" if rng.random() < 0.7 else call["mode"]
    count = len(call["values"])
    if call["mode"] == "max" or not count:
        call["weights"] = np.ones(count + 1, np.float32)
        return
    good = normal(rng, count)
    wrong = [good[:-1], np.append(good, 1), good.astype(np.float64), good[None]]
    wrong += [moved(good, rng, value) for value in (np.nan, np.inf, -np.inf)]
    call["weights"] = wrong[rng.integers(0, len(wrong))]


def break_out(call: dict[str, Any], rng: Rng, shape: tuple[int, int]) -> None:
    bags, dim = shape
    read_only = np.zeros(shape, np.float32)
    read_only.flags.writeable = False
    wrong = [np.zeros((bags + 1, dim), np.float32), np.zeros((bags, dim + 1), np.float32), np.zeros(shape), read_only]
    strided = np.zeros((bags, 2 * dim), np.float32)[:, ::2]
    wrong += [np.zeros(bags * dim, np.float32), "x"] + ([] if strided.flags.c_contiguous else [strided])
    call["out"] = wrong[rng.integers(0, len(wrong))]


def test_broken_pools_are_refused():
    rng = np.random.default_rng(1)
    for _ in range(CASES):
        table = any_table(rng)
        call = valid_pool(rng, table)
        shape = (len(call["offsets"]) - 1, table.dim)
        table.pool(**call, threads=int(rng.integers(1, 3)))
        before, out = table.stats()["looked_up"], np.full(shape, 7, np.float32)
        call["out"] = out
        defects: list[Callable[[], None]] = [
            lambda call=call: break_offsets(call, rng),
            lambda call=call, table=table: break_values(call, rng, table),
            lambda call=call: break_weights(call, rng),
            lambda call=call, shape=shape: break_out(call, rng, shape),
        ]
        defects[rng.integers(0, 4)]()
        with pytest.raises(sb.ArgumentError, match="expected"):
            table.pool(**call)
        assert (out == 7).all()
        assert table.stats()["looked_up"] == before


def test_broken_lookups_and_scores_are_refused():
    rng = np.random.default_rng(2)
    for _ in range(CASES):
        table = any_table(rng)
        keys = rng.integers(0, len(table), int(rng.integers(1, 40)))
        out = np.full((len(keys), table.dim), 7, np.float32)
        query = normal(rng, table.dim)
        wrong = moved(keys, rng, rng.choice([*FAR, len(table)]))
        with pytest.raises(sb.ArgumentError, match="row numbers from 0"):
            table.lookup(wrong, out)
        with pytest.raises(sb.ArgumentError, match="row numbers from 0"):
            table.score(query, wrong)
        with pytest.raises(sb.ArgumentError, match="query: expected"):
            table.score(moved(query, rng, rng.choice([np.nan, np.inf])), keys)
        with pytest.raises(sb.ArgumentError, match="query: expected"):
            table.score(normal(rng, table.dim + 1), keys)
        assert (out == 7).all()


def test_broken_groups_are_refused():
    rng = np.random.default_rng(3)
    for _ in range(CASES // 2):
        tables = {f"t{i}": any_table(rng) for i in range(int(rng.integers(1, 5)))}
        group, batch = sb.TableGroup(tables), int(rng.integers(1, 9))
        inputs: dict[str, Any] = {}
        for name, table in tables.items():
            offsets = np.concatenate([[0], np.cumsum(rng.integers(0, 6, batch))]).astype(np.int64)
            bag = (rng.integers(0, len(table), offsets[-1]), offsets)
            inputs[name] = bag if rng.random() < 0.5 else rng.integers(0, len(table), batch)
        out = np.full((batch, group.dim), 7, np.float32)
        group.lookup(inputs)
        name = str(rng.choice(list(tables)))
        beyond = np.full(batch, len(tables[name]))
        wrong = [beyond, rng.choice(FAR, batch), (beyond, np.arange(batch + 1) + 1), (beyond,), "text", None]
        wrong += [
            (np.zeros(batch, np.int64), np.arange(batch + 1)[::-1].copy()),
            beyond.astype(np.float32),
            beyond[None],
        ]
        wrong += [(np.zeros(batch, np.int64), np.arange(batch + 1), np.full(batch, np.nan, np.float32))]
        with pytest.raises(sb.ArgumentError, match="expected"):
            group.lookup({**inputs, name: wrong[rng.integers(0, len(wrong))]}, out)
        assert (out == 7).all()


def write(table: EmbeddingTable, keys: np.ndarray, changes: list[np.ndarray]) -> None:
    with table.writer() as writer:
        for rows in changes:
            writer.upsert(keys, rows)


def test_broken_builds_are_refused():
    rng = np.random.default_rng(4)
    for _ in range(CASES):
        rows, dim = int(rng.integers(2, 40)), int(rng.integers(1, 40))
        weights = normal(rng, rows, dim)
        keys = rng.choice(2**62, rows, replace=False) - 2**61
        place = (int(rng.integers(0, rows)), int(rng.integers(0, dim)))
        spoiled = weights.copy()
        spoiled[place] = rng.choice([np.nan, np.inf, -np.inf])
        dtype = str(rng.choice(["f32", "f16", "bf16", "i8", "i4", "i2", "fp8"]))
        with pytest.raises(sb.ArgumentError, match=rf"expected finite values .* in row {place[0]}"):
            EmbeddingTable.from_dense(spoiled, dtype)
        a, b = rng.choice(rows, 2, replace=False)
        twice = keys.copy()
        twice[a] = twice[b]
        with pytest.raises(sb.ArgumentError, match=rf"every key once, got key {twice[b]} in rows {min(a, b)} and"):
            EmbeddingTable.from_dense(weights, dtype, keys=twice)
        table = EmbeddingTable.from_dense(weights, dtype, keys=keys, missing="zero")
        stranger = rng.integers(2**61, 2**62)
        assert not table.lookup(stranger).any()
        before = table.lookup(keys)
        with pytest.raises(sb.ArgumentError, match="finite"):
            write(table, keys, [weights * 2, spoiled])
        np.testing.assert_array_equal(table.lookup(keys), before)
        assert table.generation == 0


def test_broken_files_are_refused(tmp_path):
    rng = np.random.default_rng(5)
    path = tmp_path / "t.sb"
    for _ in range(max(1, CASES // 25)):
        any_table(rng).save(path)
        whole = path.read_bytes()
        for _ in range(5):
            broken = bytearray(whole)
            if rng.random() < 0.3:
                broken = broken[: rng.integers(0, len(whole))]
            else:
                broken[rng.integers(0, len(broken))] ^= int(rng.integers(1, 256))
            path.write_bytes(bytes(broken))
            with pytest.raises(sb.FormatError):
                EmbeddingTable.load(path, mmap=bool(rng.random() < 0.5))


def test_unchecked_files_never_crash(tmp_path):
    """Without checksums a flipped tensor gives other numbers or an error, but reads nothing outside."""
    rng = np.random.default_rng(6)
    for _ in range(CASES):
        table = any_table(rng)
        tensors, meta = table._tensors()
        name = str(rng.choice(list(tensors))) if tensors else ""
        hurt = {key: array.copy() for key, array in tensors.items()}
        if name:
            raw = hurt[name].reshape(-1).view(np.uint8)
            raw[rng.integers(0, len(raw), 8)] = rng.integers(0, 256, 8)
        try:
            loaded = EmbeddingTable._from_tensors(hurt, meta)
        except sb.FormatError:
            continue
        keys = np.arange(len(loaded))
        loaded.lookup(keys)
        loaded.pool(keys, [0, len(keys)], mode="max")
        loaded.score(normal(rng, loaded.dim), keys)
