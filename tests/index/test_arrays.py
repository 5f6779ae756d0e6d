"""Arrays of any layout, precision and origin are accepted where their values are right."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from brute_force import METRICS, sample

import semblance as sb

pytestmark = pytest.mark.once

N, D = 90, 16


class DLPackOnly:
    """What another library's tensor looks like."""

    def __init__(self, array: np.ndarray) -> None:
        self._array = array

    def __dlpack__(self, **options: object) -> object:
        return self._array.__dlpack__(**options)  # type: ignore[arg-type]

    def __dlpack_device__(self) -> tuple[int, int]:
        return self._array.__dlpack_device__()


class ArrayOnly:
    def __init__(self, array: np.ndarray) -> None:
        self._array = array

    def __array__(self, dtype: object = None, copy: object = None) -> np.ndarray:
        return self._array if dtype is None else self._array.astype(dtype)  # type: ignore[call-overload]


def every_second_column(a: np.ndarray) -> np.ndarray:
    wide = np.zeros((len(a), 2 * a.shape[1]), a.dtype)
    wide[:, ::2] = a
    return wide[:, ::2]


def every_second_row(a: np.ndarray) -> np.ndarray:
    return np.repeat(a, 2, axis=0)[::2]


def backwards(a: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(a[::-1, ::-1])[::-1, ::-1]


def every_second(a: np.ndarray) -> np.ndarray:
    return np.repeat(a, 2)[::2]


def reversed_twice(a: np.ndarray) -> np.ndarray:
    return a[::-1].copy()[::-1]


def read_only(a: np.ndarray) -> np.ndarray:
    copy = a.copy()
    copy.flags.writeable = False
    return copy


def unaligned(a: np.ndarray) -> np.ndarray:
    raw = np.zeros(a.nbytes + 1, np.uint8)
    raw[1:] = a.view(np.uint8).reshape(-1)
    return raw[1:].view(a.dtype).reshape(a.shape)


def big_endian(a: np.ndarray) -> np.ndarray:
    return a.astype(a.dtype.newbyteorder(">"))


def inside_a_record(a: np.ndarray) -> np.ndarray:
    records = np.zeros(len(a), [("tag", "u1"), ("row", a.dtype, (a.shape[1],))])
    records["row"] = a
    return records["row"]


LAYOUTS: dict[str, Callable[[np.ndarray], object]] = {
    "fortran": np.asfortranarray,
    "columns": every_second_column,
    "rows": every_second_row,
    "negative strides": backwards,
    "read-only": read_only,
    "unaligned": unaligned,
    "big-endian": big_endian,
    "record": inside_a_record,
    "transposed": lambda a: np.ascontiguousarray(a.T).T,
    "dlpack": DLPackOnly,
    "__array__": ArrayOnly,
    "memoryview": memoryview,
    "subclass": lambda a: a.view(np.matrix),
}


def test_the_layouts_are_what_they_say() -> None:
    rows = sample("l2", N, D)
    assert not unaligned(rows).flags.aligned
    assert backwards(rows).strides[0] < 0
    assert not inside_a_record(rows).flags.c_contiguous
    for make in LAYOUTS.values():
        made = make(rows)
        np.testing.assert_array_equal(np.from_dlpack(made) if isinstance(made, DLPackOnly) else np.asarray(made), rows)


@pytest.mark.filterwarnings("ignore:the matrix subclass:PendingDeprecationWarning")
@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("layout", LAYOUTS)
def test_layouts(metric: str, layout: str) -> None:
    make = LAYOUTS[layout]
    rows, queries = sample(metric, N, D), sample(metric, 12, D, seed=1)
    ids = np.arange(N) * 3
    plain = sb.Index(D, metric=metric)
    plain.add(rows, ids)
    index = sb.Index(D, metric=metric)
    index.add(make(rows), ids)
    truth = sb.exact(rows, queries, 7, metric)
    for exact in (True, False):
        want, got = plain.search(queries, 7, exact=exact), index.search(make(queries), 7, exact=exact)
        np.testing.assert_array_equal(got.ids, want.ids)
        np.testing.assert_array_equal(got.distances, want.distances)
    got = sb.exact(make(rows), make(queries), 7, metric)
    np.testing.assert_array_equal(got.ids, truth.ids)
    np.testing.assert_array_equal(got.distances, truth.distances)
    index.upsert(make(rows[::-1].copy()), ids)
    np.testing.assert_array_equal(index.get(ids), plain.get(ids[::-1]))
    radius = float(truth.distances[0, -1])
    assert len(index.within(make(queries), radius).ids) == len(plain.within(queries, radius).ids)


@pytest.mark.parametrize("metric", ["cosine", "ip", "l2"])
@pytest.mark.parametrize("dtype", [np.float16, np.float64, ">f8", ">f2"])
def test_precisions(metric: str, dtype: str) -> None:
    rows, queries = (sample(metric, n, D).astype(np.float16).astype(np.float32) for n in (N, 10))
    plain, index = sb.Index.build(rows, metric=metric), sb.Index.build(rows.astype(dtype), metric=metric)
    want, got = plain.search(queries, 5), index.search(queries.astype(dtype), 5)
    np.testing.assert_array_equal(want.ids, got.ids)
    np.testing.assert_array_equal(want.distances, got.distances)


def test_nested_lists() -> None:
    index = sb.Index(2, metric="l2")
    assert index.add([[1.0, 0.0], (0.0, 1.0)], (5, 9)).tolist() == [5, 9]
    assert index.search([[0.9, 0.0]], k=1).ids.tolist() == [[5]]
    assert index.remove((5,)) == 1
    bits = sb.Index(16, metric="hamming")
    bits.add(np.array([[1, 2], [3, 4]], np.uint8))
    assert bits.search(np.array([[1, 3]], np.uint8), k=1).ids.tolist() == [[0]]


def test_8_bit_integers_are_rows_of_whole_numbers() -> None:
    rows = np.random.default_rng(4).integers(-127, 128, (200, 16)).astype(np.int8)
    plain, index = (sb.Index.build(given, metric="cosine") for given in (rows.astype(np.float32), rows))
    assert np.array_equal(plain.search(rows.astype(np.float32), 5).ids, index.search(rows, 5).ids)


@pytest.mark.parametrize("dtype", [np.int8, np.uint8, np.int16, np.int32, np.uint32, np.uint64, ">i8", "<i8"])
@pytest.mark.parametrize("make", [np.asarray, every_second, reversed_twice, unaligned])
def test_ids_of_every_integer_type(dtype: str, make: Callable[[np.ndarray], np.ndarray]) -> None:
    wanted = np.arange(50, 110).astype(dtype)
    rows = sample("l2", 60, D)
    index = sb.Index(D, metric="l2")
    given = index.add(rows, make(wanted))
    assert given.dtype == np.int64
    assert given.tolist() == list(range(50, 110))
    np.testing.assert_array_equal(index.get(make(wanted)), index.get(np.arange(50, 110)))
    assert (index.search(rows, 1, allowed=make(wanted[:30])).ids[:30, 0] == given[:30]).all()
    assert index.remove(make(wanted[:9])) == 9


def test_masks_of_every_layout() -> None:
    rows = sample("l2", 60, D)
    index = sb.Index.build(rows, metric="l2")
    mask = np.arange(60) % 3 == 0
    want = index.search(rows, 5, allowed=np.flatnonzero(mask))
    for given in (mask, np.repeat(mask, 2)[::2], mask[::-1].copy()[::-1], mask.tolist(), ArrayOnly(mask)):
        np.testing.assert_array_equal(index.search(rows, 5, allowed=given).ids, want.ids)


def test_arguments_are_not_written_to_and_results_are_fresh() -> None:
    rows = sample("cosine", 60, D)
    before = rows.copy()
    index = sb.Index.build(rows)
    hits = index.search(rows, 3)
    got = index.get([0, 1])
    np.testing.assert_array_equal(rows, before)
    for array in (*hits, got, index.ids()):
        assert array.flags.writeable
        assert array.flags.owndata or array.base is not None
    again = index.search(rows, 3)
    hits.ids[:] = 0
    hits.distances[:] = 0
    got[:] = 9
    rows[:] = 7
    after = index.search(before, 3)
    np.testing.assert_array_equal(after.ids, again.ids)
    np.testing.assert_array_equal(after.distances, again.distances)
