"""Tables on a card give the bits of tables on the CPU."""

from __future__ import annotations

import ctypes
from types import ModuleType
from typing import Any

import numpy as np
import pytest

import semblance as sb
from semblance import tables

DTYPES = ("f32", "f16", "bf16", "i8", "i4", "i2", "fp8")


def weights(rows: int, dim: int, seed: int = 0) -> Any:
    return np.random.default_rng(seed).standard_normal((rows, dim)).astype(np.float32)


def jagged(bags: int, keys: int, seed: int = 1) -> tuple[Any, Any, Any]:
    rng = np.random.default_rng(seed)
    offsets = np.concatenate([[0], np.cumsum(rng.integers(0, 6, bags))]).astype(np.int64)
    values = rng.integers(0, keys, offsets[-1])
    return values, offsets, rng.standard_normal(len(values)).astype(np.float32)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("mode", ["sum", "mean", "max"])
def test_bags_are_the_cpus_bits(gpu: ModuleType, dtype: Any, mode: Any) -> None:
    table = sb.EmbeddingTable.from_dense(weights(50, 20), dtype, missing="mean", padding=3)
    values, offsets, factors = jagged(13, 60)  # keys from 50 on are unknown
    there = table.to("cuda")
    for each in (None, None if mode == "max" else factors):
        expected = table.pool(values, offsets, each, mode)
        assert there.pool(values, offsets, each, mode).tobytes() == expected.tobytes()
    assert there.lookup(values.reshape(-1, 1)).tobytes() == table.lookup(values.reshape(-1, 1)).tobytes()
    assert (there.dim, there.dtype, there.nbytes > 0) == (20, dtype, True)


def test_keys_changes_and_remapped_rows(gpu: ModuleType) -> None:
    table = sb.EmbeddingTable.from_dense(weights(4, 6), keys=["a", "b", "c", "d"], missing="row:1")
    with table.writer() as w:
        w.upsert(["b", "new"], weights(2, 6, 5))
        w.remove(["c"])
    keys = ["new", "b", "c", "never", "a"]
    there = table.to("cuda")
    assert there.lookup(keys).tobytes() == table.lookup(keys).tobytes()
    before = table.lookup(["a"])
    with table.writer() as w:
        w.upsert(["a"], weights(1, 6, 9))
    assert there.lookup(["a"]).tobytes() == before.tobytes() != table.lookup(["a"]).tobytes()
    assert there.generation == table.generation - 1
    pruned = tables.pruned(weights(2, 6), np.array([1, -1, 0], np.int32))
    assert pruned.to("cuda").lookup([0, 1, 2]).tobytes() == pruned.lookup([0, 1, 2]).tobytes()


def test_groups_of_shared_tables_and_mixed_inputs(gpu: ModuleType) -> None:
    first, second = (
        sb.EmbeddingTable.from_dense(weights(30, d, d), t, missing="zero") for d, t in ((8, "i4"), (17, "i8"))
    )
    group = sb.TableGroup({"a": first, "b": second}, {"x": "a", "y": ("b", "mean"), "z": ("a", "max")})
    values, offsets, factors = jagged(5, 35)
    inputs = {"x": [1, 2, 40, 4, 5], "y": (values, offsets, factors), "z": (values, offsets)}
    there = group.to("cuda")
    assert there.lookup(inputs).tobytes() == group.lookup(inputs).tobytes()
    assert (there.fields, there.dim) == (("x", "y", "z"), 33)
    keys = np.arange(12).reshape(4, 3)
    assert there.lookup(keys).tobytes() == group.lookup(keys).tobytes()
    alone = first.to("cuda").nbytes + second.to("cuda").nbytes
    assert there.nbytes == alone  # what two fields share is there once
    with pytest.raises(sb.ArgumentError, match="expected 5 examples, got 2"):
        there.lookup({**inputs, "z": [1, 2]})
    with pytest.raises(sb.ArgumentError, match="expected the fields"):
        there.lookup({"x": [1]})


def test_a_cache_of_rows(gpu: ModuleType) -> None:
    table = sb.EmbeddingTable.from_dense(weights(300, 12), keys=np.arange(0, 3000, 10), missing="row:7")
    with table.writer() as w:
        w.upsert([5, 10], weights(2, 12, 3))
    there = table.to("cuda", cache_rows=40)
    rng = np.random.default_rng(0)
    for _ in range(20):
        keys = rng.integers(0, 60, 25) ** 2 // 3
        assert there.lookup(keys).tobytes() == table.lookup(keys).tobytes()
    assert there.stats()["hits"] > 0 < there.stats()["misses"]
    assert there.nbytes < table.to("cuda").nbytes / 5
    with pytest.raises(sb.CapacityError, match="cache_rows: expected at least as many as one call reads, got 40"):
        there.lookup(np.arange(0, 500, 10))
    assert there.lookup([10]).tobytes() == table.lookup([10]).tobytes()
    both = sb.TableGroup({"t": table}, {"x": "t", "y": "t"})
    pair = np.array([[0, 10], [20, 5]])
    assert both.to("cuda", cache_rows=40).lookup(pair).tobytes() == both.lookup(pair).tobytes()


def emulators_word(gpu: ModuleType, name: str) -> ctypes.c_size_t:
    """A variable of the emulator, which a card has not."""
    if not gpu.EMULATED:
        pytest.skip("only the emulator can run out of memory on demand and tell what is under way")
    return ctypes.c_size_t.in_dll(ctypes.CDLL(gpu.__file__), f"_ZN9semblance8emulated{len(name)}{name}E")


def test_a_failed_call_leaves_nothing_under_way_to_the_slots_of_a_cache(gpu: ModuleType) -> None:
    memory_left, under_way = emulators_word(gpu, "memory_left"), emulators_word(gpu, "under_way")
    table = sb.EmbeddingTable.from_dense(weights(300, 12))
    there = table.to("cuda", cache_rows=40)
    keys = np.arange(0, 300, 10)
    plenty, result = memory_left.value, 4 * 12 * len(keys)
    for enough in (result - 1, 16 * len(keys) - 1):  # not for the result; not for the list of rows to bring in
        memory_left.value = enough
        try:
            with pytest.raises(sb.CapacityError, match="device memory"):
                there.lookup(keys)
        finally:
            memory_left.value = plenty
        assert under_way.value == 0
        assert there.lookup(keys).tobytes() == table.lookup(keys).tobytes()
        assert there.lookup(keys + 1).tobytes() == table.lookup(keys + 1).tobytes()


def test_keys_of_the_host_go_in_one_copy(gpu: ModuleType) -> None:
    under_way = emulators_word(gpu, "under_way")
    table = sb.EmbeddingTable.from_dense(weights(40, 8), "i8", missing="zero")
    group = sb.TableGroup({"a": table}, {"x": "a", "y": ("a", "mean"), "z": ("a", "max")})
    there = group.to("cuda")
    for bags in (3, 50, 7, 0):  # what is sent after more finds the room that was
        values, offsets, factors = jagged(bags, 44, bags)
        inputs = {"x": values[:bags] if bags <= len(values) else offsets[:bags], "y": (values, offsets, factors)}
        inputs["z"] = (values, offsets)
        gpu.synchronize(0)
        found = there.lookup(inputs, on_device=True)
        assert under_way.value == (2 if bags else 1)  # a copy and a launch
        assert found.numpy().tobytes() == group.lookup(inputs).tobytes()


def test_arrays_of_the_card(gpu: ModuleType) -> None:
    table = sb.EmbeddingTable.from_dense(weights(40, 16), "i8", missing="zero", padding=4)
    there = table.to("cuda")
    values, offsets, factors = jagged(9, 44)
    expected = table.pool(values, offsets, factors)
    on_card = [gpu.to_device(a) for a in (values, offsets, factors)]
    assert there.pool(*on_card).tobytes() == expected.tobytes()
    assert there.pool(*on_card, on_device=True).numpy().tobytes() == expected.tobytes()
    out = gpu.to_device(np.zeros((9, 16), np.float32))
    assert there.pool(*on_card, out=out) is out
    assert out.numpy().tobytes() == expected.tobytes()
    assert there.pool(*on_card[:2], on_card[2]).shape == (9, 16)
    wild = gpu.to_device(np.array([0, 1 << 60, 1, -5]))
    tame = np.array([0, len(values), len(values)])
    assert there.pool(on_card[0], wild)[0].tobytes() == table.pool(values, tame)[0].tobytes()
    strict = sb.EmbeddingTable.from_dense(weights(40, 16)).to("cuda")
    with pytest.raises(sb.NotFoundError, match="expected row numbers of the tables, got 2 that are none"):
        strict.lookup(gpu.to_device(np.array([0, 40, -1])))
    assert not strict.lookup(gpu.to_device(np.array([40])), check=False).any()
    keyed = sb.EmbeddingTable.from_dense(weights(2, 4), keys=[5, 6]).to("cuda")
    with pytest.raises(sb.UnsupportedError, match="expected keys of the host"):
        keyed.lookup(on_card[0])


def test_bad_input_changes_nothing(gpu: ModuleType) -> None:
    table = sb.EmbeddingTable.from_dense(weights(10, 4))
    there = table.to("cuda")
    out = np.full((2, 4), 7, np.float32)
    wrong: list[tuple[type[Exception], Any]] = [
        (sb.ArgumentError, lambda: there.lookup([0, 10], out=out)),
        (sb.ArgumentError, lambda: there.pool([0, 1], [0, 3], out=out[:1])),
        (sb.ArgumentError, lambda: there.pool([0, 1], [0, 1, 2], mode="median", out=out)),
        (sb.ArgumentError, lambda: there.pool([0, 1], [0, 1, 2], [1.0, np.nan], out=out)),
        (sb.ArgumentError, lambda: there.pool([0, 1], [0, 1, 2], [1.0, 2.0], mode="max", out=out)),
        (sb.ArgumentError, lambda: there.pool([0, 1], gpu.to_device(np.array([0, 1, 2])), out=out)),
        (sb.ArgumentError, lambda: there.lookup([0], out=out)),
        (sb.ArgumentError, lambda: table.to("tpu")),
        (sb.ArgumentError, lambda: table.to("cuda", cache_rows=0)),
        (sb.UnsupportedError, lambda: tables.seeded(8).to("cuda")),
    ]
    for error, call in wrong:
        with pytest.raises(error):
            call()
        assert (out == 7).all()
    assert there.pool([], [0]).shape == (0, 4)
    assert there.lookup([]).shape == (0, 4)
