"""Arrays and streams of other libraries: what they may look like, and who waits for whom."""

from __future__ import annotations

import weakref
from collections.abc import Iterator
from types import ModuleType
from typing import Any

import numpy as np
import onnxruntime
import pytest

import semblance as sb


def rows(n: int, d: int, seed: int = 0) -> Any:
    return np.random.default_rng(seed).standard_normal((n, d)).astype(np.float32)


class EncoderOutput:
    """A value of ONNX Runtime as `Encoder.device_batches` yields it, in memory that passes for the card's."""

    def __init__(self, array: Any) -> None:
        self.value = onnxruntime.OrtValue.ortvalue_from_numpy(array)
        self.shape = self.value.shape  # a method

    def __dlpack_device__(self) -> tuple[int, int]:
        return 2, 0

    def __dlpack__(self, *, stream: int | None = None) -> Any:
        return self.value.__dlpack__(stream=stream)


def test_what_an_encoder_leaves_on_the_card_goes_in(gpu: ModuleType) -> None:
    if not gpu.EMULATED:
        pytest.skip("the value lies on the host")
    vectors, queries = rows(60, 12), rows(3, 12, 1)
    flat = sb.gpu.FlatIndex(12, "l2")
    flat.add(EncoderOutput(vectors))
    want = sb.exact(vectors, queries, 5, "l2")
    assert flat.search(EncoderOutput(queries), 5).ids.tolist() == want.ids.tolist()
    graph = sb.gpu.GraphIndex.from_index(sb.Index.build(vectors, metric="l2"))
    assert graph.search(EncoderOutput(queries), 5).ids.tolist() == want.ids.tolist()
    few = [3, 30, 31]
    assert set(graph.search(EncoderOutput(queries), 3, allowed=few).ids.ravel()) == set(few)
    table = sb.EmbeddingTable.from_dense(vectors, "f32").to("cuda")
    keys, offsets = np.array([4, 0, 59]), np.array([0, 1, 3])
    assert table.lookup(EncoderOutput(keys)).tobytes() == vectors[keys].tobytes()
    pooled = table.pool(EncoderOutput(keys), EncoderOutput(offsets), mode="sum")
    assert pooled.tobytes() == table.pool(keys, offsets, mode="sum").tobytes()


# ---- who waits for whom, as the emulated runtime writes it down ----

Call = tuple[str, int, int, int, bool]  # name, stream, the stream that a wait is for, card, whether with the GIL


class Emulated:
    """The emulated runtime's settings and log."""

    def __init__(self, module: ModuleType) -> None:
        self.module = module.emulated

    def calls(self, work: Any) -> list[Call]:
        self.module.start_log()
        try:
            work()
        finally:
            found: list[Call] = self.module.take_log()
        return found

    def names(self, work: Any) -> list[str]:
        return [call[0] for call in self.calls(work)]


@pytest.fixture
def emulated(gpu: ModuleType) -> Iterator[Emulated]:
    if not gpu.EMULATED:
        pytest.skip("a card keeps no log")
    runtime = Emulated(gpu)
    yield runtime
    runtime.module.set_current(0)
    runtime.module.set_cards(1)


class Stream:
    """A stream of CuPy's form."""

    def __init__(self, ptr: int) -> None:
        self.ptr = ptr


class Interface:
    """Nothing but __cuda_array_interface__, changed."""

    def __init__(self, array: Any, **changes: Any) -> None:
        self.__cuda_array_interface__ = {**array.__cuda_array_interface__, **changes}
        self.shape = array.shape
        self.keep = array


def exchange_only(array: Any) -> Any:
    class Exchange:
        shape = array.shape
        __dlpack__ = staticmethod(array.__dlpack__)
        __dlpack_device__ = staticmethod(array.__dlpack_device__)

    return Exchange()


def searchers(gpu: ModuleType) -> list[Any]:
    vectors = rows(60, 12)
    flat = sb.gpu.FlatIndex(12, "l2")
    flat.add(vectors)
    return [flat, sb.gpu.GraphIndex.from_index(sb.Index.build(vectors, metric="l2"))]


@pytest.mark.parametrize("stream", [None, 0, 1, 80])
def test_the_same_stream_is_not_waited_for(gpu: ModuleType, emulated: Emulated, stream: int | None) -> None:
    arrays = rows(3, 12, 1), np.zeros((3, 4), np.int64), np.zeros((3, 4), np.float32)
    queries, ids, distances = (Interface(gpu.to_device(array), stream=stream or 1) for array in arrays)
    for index in searchers(gpu):
        made = emulated.names(lambda index=index: index.search(queries, 4, out=(ids, distances), stream=stream))
        assert not {"wait", "synchronize", "malloc", "free"} & set(made)


def test_another_stream_is_followed_without_the_host(gpu: ModuleType, emulated: Emulated) -> None:
    queries = Interface(gpu.to_device(rows(3, 12, 1)), stream=64)
    for index in searchers(gpu):
        made = emulated.calls(lambda index=index: index.search(queries, 4, on_device=True, stream=80))
        assert [call[:3] for call in made if call[0] in ("wait", "synchronize")] == [("wait", 80, 64)]
    array = gpu.to_device(rows(2, 2))
    made = emulated.calls(lambda: array.__dlpack__(stream=96))
    assert [call[:3] for call in made] == [("wait", 96, 0), ("wait", 0, 96)]  # what took it is dropped at once
    for same in (-1, 1, None):
        assert emulated.names(lambda same=same: array.__dlpack__(stream=same)) == []


def test_results_that_are_not_waited_for_leave_pinned_queries_alone(gpu: ModuleType, emulated: Emulated) -> None:
    queries = rows(3, 12, 1)
    for index in searchers(gpu):

        def wanted(on_device: bool, index: Any = index) -> list[str]:
            made = emulated.names(lambda: index.search(queries, 4, on_device=on_device, stream=80))
            return [name for name in made if name in ("copy", "synchronize")]

        assert wanted(True) == ["copy"]
        emulated.module.pin(queries)
        try:
            assert wanted(True) == ["copy", "synchronize"]
            assert wanted(False) == ["copy", "copy", "synchronize"]  # queries, results: one wait for both
        finally:
            emulated.module.unpin(queries)


def test_work_stays_on_the_card_that_it_was_made_on(gpu: ModuleType, emulated: Emulated) -> None:
    elsewhere = gpu.to_device(rows(3, 12, 1))
    emulated.module.set_cards(2)
    emulated.module.set_current(1)
    here = gpu.to_device(rows(3, 12, 1))
    table = sb.EmbeddingTable.from_dense(rows(9, 12)).to("cuda")
    indexes = searchers(gpu)
    emulated.module.set_current(0)
    for index in indexes:
        found: list[Any] = []

        def work(index: Any = index, found: list[Any] = found) -> None:
            found.append(index.search(here, 4, allowed=[1, 2], on_device=True))

        made = emulated.calls(work)
        assert {call[3] for call in made} == {1}
        assert found[0].ids.__dlpack_device__() == (2, 1)
        assert {call[3] for call in emulated.calls(found.clear)} == {1}
        for form in (lambda array: array, Interface, exchange_only):
            with pytest.raises(sb.ArgumentError, match=r"expected an array of CUDA device 1, .*, got one of device 0"):
                index.search(form(elsewhere), 4)
    keys = np.array([3, 1])
    assert table.lookup(keys, on_device=True).__dlpack_device__() == (2, 1)
    with pytest.raises(sb.ArgumentError, match="got one of device 0"):
        table.lookup(keys, out=gpu.to_device(np.zeros((2, 12), np.float32)))
    other = sb.EmbeddingTable.from_dense(rows(9, 12)).to("cuda")
    native = [(t._rows.native, keys, None, None, "sum", 12 * i, -1, -1) for i, t in enumerate((table, other))]
    with pytest.raises(sb.ArgumentError, match="expected tables of one CUDA device"):
        gpu.pool(native, None, (2, 24), False, False, None)


def test_memory_is_given_back_in_the_order_of_a_living_stream(gpu: ModuleType, emulated: Emulated) -> None:
    table = sb.EmbeddingTable.from_dense(rows(60, 12)).to("cuda")
    calls: list[Any] = [
        lambda stream, index=index: index.search(rows(3, 12), 4, on_device=True, stream=stream).ids
        for index in searchers(gpu)
    ]
    for call in [*calls, lambda stream: table.lookup([1], on_device=True, stream=stream)]:
        stream = Stream(80)
        gone = weakref.ref(stream)
        array = call(stream)
        del stream
        read = [array.__dlpack__(stream=96)]  # what drops it uses stream 96
        del array
        assert gone() is not None
        made = [made[:3] for made in emulated.calls(read.clear)]
        assert made == [("wait", 80, 96), ("free_async", 80, 0)]
        assert gone() is None


def test_filters_of_one_search_are_no_lasting_memory(gpu: ModuleType, emulated: Emulated) -> None:
    for index in searchers(gpu):
        made = emulated.calls(lambda index=index: index.search(rows(3, 12), 4, allowed=[1, 2], stream=Stream(80)))
        assert not {"malloc", "free"} & {call[0] for call in made}
        assert {call[1] for call in made} == {80}


def test_nobody_waits_with_the_gil(gpu: ModuleType, emulated: Emulated) -> None:
    vectors = rows(300, 12)
    index = sb.Index.build(vectors, metric="l2")

    def work() -> None:
        for made in (sb.gpu.FlatIndex(12, "l2"), sb.gpu.GraphIndex.from_index(index, codes="i8")):
            if isinstance(made, sb.gpu.FlatIndex):
                made.add(vectors)
            keep.append((made, made.allow([1, 2]), made.search(vectors[:3], 4, allowed=[1, 2])))
            made.search(vectors[:3], 4, on_device=True).ids.numpy()
        sb.Index.build(vectors, metric="l2", codes="f32", device="cuda")
        keep.append(sb.EmbeddingTable.from_dense(vectors).to("cuda"))
        keep[-1].lookup([1, 2])

    keep: list[Any] = []
    waits = ("synchronize", "malloc", "copy")
    held = [call for call in emulated.calls(work) if call[0] in waits and call[4]]
    assert not held


def test_read_only_arrays_are_not_written(gpu: ModuleType) -> None:
    ids, distances = gpu.to_device(np.zeros((2, 3), np.int64)), gpu.to_device(np.zeros((2, 3), np.float32))
    sealed = Interface(ids, data=(ids.__cuda_array_interface__["data"][0], True))
    for index in searchers(gpu):
        with pytest.raises(sb.ArgumentError, match=r"out\[0\]: expected a writable array, got a read-only one"):
            index.search(rows(2, 12), 3, out=(sealed, distances))
    table = sb.EmbeddingTable.from_dense(rows(9, 3)).to("cuda")
    sealed = Interface(distances, data=(distances.__cuda_array_interface__["data"][0], True))
    with pytest.raises(sb.ArgumentError, match="out: expected a writable array, got a read-only one"):
        table.lookup([0, 1], out=sealed)


def test_rows_of_graphs_are_the_hosts(gpu: ModuleType) -> None:
    native = gpu.GraphRows(4, "l2", True)
    with pytest.raises(sb.ArgumentError, match="vectors: expected an array of the host, got one of the card"):
        native.add(gpu.to_device(rows(3, 4)))
