"""gpu.FlatIndex against sb.exact."""

from __future__ import annotations

from types import ModuleType
from typing import Any

import numpy as np
import pytest

import semblance as sb


def rows(n: int, d: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((n, d)).astype(np.float32)


def made(vectors: np.ndarray, metric: str, codes: str = "f32", ids: Any = None) -> sb.gpu.FlatIndex:
    index = sb.gpu.FlatIndex(vectors.shape[1], metric, codes)
    index.add(vectors, ids)
    return index


class Interface:
    """Nothing but __cuda_array_interface__."""

    def __init__(self, array: Any, **changes: Any) -> None:
        self.__cuda_array_interface__ = {**array.__cuda_array_interface__, **changes}
        self.shape = array.shape
        self.keep = array


class Exchange:
    """Nothing but DLPack."""

    def __init__(self, array: Any) -> None:
        self.array = array
        self.shape = array.shape
        self.__dlpack__ = array.__dlpack__
        self.__dlpack_device__ = array.__dlpack_device__


@pytest.mark.parametrize("metric", ["cosine", "ip", "l2"])
def test_f32_is_exact(gpu: ModuleType, metric: str) -> None:
    vectors, queries = rows(500, 24), rows(7, 24, 1)
    truth = sb.exact(vectors, queries, 10, metric)
    hits = made(vectors, metric).search(queries, 10)
    np.testing.assert_array_equal(hits.ids, truth.ids)
    np.testing.assert_allclose(hits.distances, truth.distances, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("metric", ["ip", "l2"])
def test_i8_gives_the_bits_of_the_cpu(gpu: ModuleType, metric: str) -> None:
    vectors, queries = rows(300, 40), rows(5, 40, 1)
    twin = sb.Index(40, metric, kind="flat", codes="i8", rerank=None)
    twin.add(vectors)
    want = twin.search(queries, 20)
    hits = made(vectors, metric, "i8").search(queries, 20)
    np.testing.assert_array_equal(hits.ids, want.ids)
    np.testing.assert_array_equal(hits.distances, want.distances)


def test_bf16_is_exact_over_rounded_values(gpu: ModuleType) -> None:
    def rounded(array: np.ndarray) -> np.ndarray:
        bits = array.view(np.uint32)
        return ((bits + 0x7FFF + (bits >> 16 & 1)) & 0xFFFF0000).astype(np.uint32).view(np.float32)

    vectors, queries = rows(400, 64), rows(33, 64, 1)
    truth = sb.exact(rounded(vectors), rounded(queries), 5, "ip")
    hits = made(vectors, "ip", "bf16").search(queries, 5)
    np.testing.assert_array_equal(hits.ids, truth.ids)
    np.testing.assert_allclose(hits.distances, truth.distances, rtol=1e-5, atol=1e-5)


def test_ids_filters_and_padding(gpu: ModuleType) -> None:
    vectors = rows(60, 8)
    index = made(vectors[:40], "l2", ids=np.arange(40) * 10)
    assert index.add(vectors[40:]).tolist() == list(range(391, 411))
    assert len(index) == 60
    assert index.nbytes > 60 * 8 * 4
    hits = index.search(vectors[[3, 50]], 1)
    assert hits.ids.ravel().tolist() == [30, 401]
    few = index.search(vectors[:1], 4, allowed=[20, 401, 999])
    assert set(few.ids[0, :2]) == {20, 401}
    assert few.ids[0, 2:].tolist() == [-1, -1]
    assert np.isposinf(few.distances[0, 2:]).all()
    allowed = index.allow([20])
    assert index.search(vectors[:2], 1, allowed=allowed).ids.ravel().tolist() == [20, 20]
    index.add(vectors[:1])
    with pytest.raises(sb.ArgumentError, match="allowed: expected a filter of the 61 rows"):
        index.search(vectors[:1], 1, allowed=allowed)


@pytest.mark.parametrize("form", [lambda array: array, Interface, Exchange])
def test_arrays_of_the_card_go_in_and_come_out(gpu: ModuleType, form: Any) -> None:
    vectors, queries = rows(80, 12), rows(3, 12, 1)
    index = sb.gpu.FlatIndex(12, "ip")
    index.add(form(gpu.to_device(vectors)))
    hits = index.search(form(gpu.to_device(queries)), 6, on_device=True)
    assert (hits.ids.shape, hits.ids.dtype, len(hits.ids)) == ((3, 6), np.int64, 3)
    want = sb.exact(vectors, queries, 6, "ip")
    np.testing.assert_array_equal(hits.ids.numpy(), want.ids)
    np.testing.assert_allclose(hits.distances.numpy(), want.distances, rtol=1e-5, atol=1e-5)
    assert hits.ids.__dlpack_device__()[0] == 2
    face = hits.distances.__cuda_array_interface__
    assert (face["shape"], face["typestr"], face["version"]) == ((3, 6), "<f4", 3)


@pytest.mark.parametrize("form", [lambda array: array, Interface, Exchange])
def test_results_go_where_the_caller_says(gpu: ModuleType, form: Any) -> None:
    vectors, queries = rows(80, 12), rows(3, 12, 1)
    index = made(vectors, "l2", "bf16")
    ids, distances = gpu.to_device(np.zeros((3, 6), np.int64)), gpu.to_device(np.zeros((3, 6), np.float32))
    pair = form(ids), form(distances)
    hits = index.search(gpu.to_device(queries), 6, out=pair)
    assert hits.ids is pair[0]
    assert hits.distances is pair[1]
    want = index.search(queries, 6)
    np.testing.assert_array_equal(ids.numpy(), want.ids)
    np.testing.assert_array_equal(distances.numpy(), want.distances)


def test_bad_places_for_results_are_named(gpu: ModuleType) -> None:
    index = made(rows(20, 8), "l2")
    ids, distances = gpu.to_device(np.zeros((2, 3), np.int64)), gpu.to_device(np.zeros((2, 3), np.float32))
    cases: list[tuple[Any, str]] = [
        (ids, r"out: expected a pair of arrays \(ids, distances\)"),
        (
            (ids, np.zeros((2, 3), np.float32)),
            r"out\[1\]: expected <f4 of shape \(2, 3\) on the card, got .* on the host",
        ),
        ((distances, ids), r"out\[0\]: expected <i8 of shape \(2, 3\) on the card, got <f4"),
        ((ids, gpu.to_device(np.zeros((3, 2), np.float32))), r"out\[1\]: expected .*, got <f4 of shape \(3, 2\)"),
        ((ids, 7), r"out\[1\]: expected an array"),
    ]
    for out, message in cases:
        with pytest.raises(sb.ArgumentError, match=message):
            index.search(rows(2, 8), 3, out=out)
    assert not ids.numpy().any()


def test_bad_input_is_named_and_changes_nothing(gpu: ModuleType) -> None:
    vectors = rows(20, 8)
    index = made(vectors, "cosine")
    bad = vectors.copy()
    bad[3, 2] = np.nan
    device = gpu.to_device(vectors)
    cases: list[tuple[Any, str]] = [
        (bad, r"vectors\[3\]: expected finite"),
        (gpu.to_device(bad), r"vectors\[3\]: expected finite"),
        (np.zeros((2, 8), np.float32), r"vectors\[0\]: expected a vector with a direction"),
        (gpu.to_device(np.zeros((2, 8), np.float32)), r"vectors\[0\]: expected .* not all zero under cosine"),
        (vectors[:, :4], r"vectors: expected float32 of shape \(n, 8\)"),
        (gpu.to_device(vectors.astype(np.float64)), r"vectors: expected float32 .* got <f8 of shape \(20, 8\)"),
        (gpu.to_device(vectors[:, :4].copy()), r"vectors: expected float32 .*\(20, 4\)"),
        (Interface(device, strides=(4, 80)), "vectors: expected a C-contiguous array"),
    ]
    for value, message in cases:
        with pytest.raises(sb.ArgumentError, match=message):
            index.add(value)
    with pytest.raises(sb.ArgumentError, match="ids: expected ids that are not in the index"):
        index.add(vectors[:2], [100, 0])
    with pytest.raises(sb.ArgumentError, match="ids: expected ids of at least 0"):
        index.add(vectors[:2], [100, -1])
    with pytest.raises(sb.ArgumentError, match="k: expected a whole number from 1 to 1024"):
        index.search(vectors, 1025)
    with pytest.raises(sb.ArgumentError, match="stream: expected"):
        index.search(vectors, 1, stream="none")
    assert len(index) == 20
    assert index.add(vectors[:1], [100]).tolist() == [100]


@pytest.mark.parametrize("codes", ["f32", "bf16", "i8"])
@pytest.mark.parametrize(("metric", "bad"), [("l2", [np.nan, 1, 1, 1]), ("cosine", [0, 0, 0, 0])])
def test_what_is_no_vector_on_the_card_has_no_neighbour(
    gpu: ModuleType, codes: str, metric: str, bad: list[float]
) -> None:
    index = made(rows(20, 4), metric, codes)
    queries = rows(2, 4)
    queries[0] = bad
    hits = index.search(gpu.to_device(queries), 3)
    assert hits.ids[0].tolist() == [-1, -1, -1]
    assert (hits.ids[1] >= 0).all()


def test_an_empty_index_and_no_queries(gpu: ModuleType) -> None:
    index = sb.gpu.FlatIndex(5)
    assert index.search(rows(2, 5), 3).ids.tolist() == [[-1] * 3] * 2
    index.add(rows(0, 5))
    index.add(rows(4, 5))
    assert index.search(rows(0, 5), 3).ids.shape == (0, 3)


@pytest.mark.skipif(sb.gpu.is_available(), reason="there is a GPU")
def test_without_a_card_the_reason_is_said() -> None:
    with pytest.raises(sb.UnsupportedError, match=r"FlatIndex: expected .*, got none: "):
        sb.gpu.FlatIndex(4)
