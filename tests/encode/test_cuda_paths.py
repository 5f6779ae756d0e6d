"""What is asked of ONNX Runtime for CUDA, CUDA graphs and TensorRT: a runtime that pretends to have them, on the CPU.

Numbers are computed for real; what only a GPU can show (that a graph is recorded, that nothing is copied) is not shown.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
from layered_models import layered_model, write_layered

import semblance as sb
from semblance.encode import devices, replays
from semblance.encode import onnx as runner

TEXTS = ["the cat runs.", "a big dog", "tree", "the small small tree sleeps", "cat", "dog"]
ALL = [devices.TENSORRT, devices.CUDA, devices.CPU]


class Binding:
    """An I/O binding whose device memory is the CPU's."""

    def __init__(self, real: Any, seen: list[Any]) -> None:
        self._real, self._seen = real, seen

    def __getattr__(self, name: str) -> Any:
        return getattr(self._real, name)

    def bind_output(self, name: str, kind: str, ordinal: int) -> None:
        self._seen.append(("output", kind, ordinal))
        self._real.bind_output(name, "cpu")


class FakeSession:
    """A session on the CPU that says it has the providers it was asked for, and notes how it is run."""

    def __init__(self, real: Any, providers: list[Any], seen: list[Any]) -> None:
        self._real, self._providers, self._seen = real, providers, seen

    def __getattr__(self, name: str) -> Any:
        return getattr(self._real, name)

    def get_providers(self) -> list[str]:
        return [p if isinstance(p, str) else p[0] for p in self._providers]

    def io_binding(self) -> Binding:
        return Binding(self._real.io_binding(), self._seen)

    def run(self, outputs: list[str], feed: dict[str, np.ndarray], options: Any = None) -> Any:
        self._seen.append(("run", graph_of(options)))
        return self._real.run(outputs, feed)

    def run_with_iobinding(self, binding: Binding, options: Any = None) -> None:
        addresses = tuple(value.data_ptr() for value in binding._real.get_outputs() if value.has_value())
        self._seen.append(("bound run", graph_of(options), addresses))
        self._real.run_with_iobinding(binding._real)


def graph_of(options: Any) -> str | None:
    return None if options is None else options.get_run_config_entry("gpu_graph_id")


class FakeRuntime:
    """ONNX Runtime with CUDA and TensorRT, as far as a caller can see."""

    def __init__(self, there: list[str] = ALL, works: Callable[[list[Any]], list[Any]] = list) -> None:
        self.seen: list[Any] = []
        self.asked: list[Any] = []
        self._there, self._works = there, works
        outer = self

        class OrtValue:
            @staticmethod
            def ortvalue_from_numpy(array: np.ndarray, kind: str, ordinal: int) -> Any:
                outer.seen.append(("input", kind, ordinal))
                return onnxruntime.OrtValue.ortvalue_from_numpy(array.copy())

        self.OrtValue = OrtValue

    def __getattr__(self, name: str) -> Any:
        return getattr(onnxruntime, name)

    def get_available_providers(self) -> list[str]:
        return self._there

    def preload_dlls(self) -> None:
        pass

    def InferenceSession(self, model: object, options: object, providers: list[Any]) -> FakeSession:
        self.asked.append(providers)
        real = onnxruntime.InferenceSession(model, options, providers=[devices.CPU])
        return FakeSession(real, self._works(providers), self.seen)


@pytest.fixture(scope="module")
def layered(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_layered(tmp_path_factory.mktemp("hub") / "layered", layered_model())


@pytest.fixture
def runtime(monkeypatch: pytest.MonkeyPatch) -> Callable[..., FakeRuntime]:
    def make(*given: Any) -> FakeRuntime:
        fake = FakeRuntime(*given)
        monkeypatch.setattr(runner, "runtime", lambda: fake)
        return fake

    return make


def test_vectors_stay_on_the_device_that_was_asked_for(layered: Path, runtime: Callable[..., FakeRuntime]) -> None:
    expected = sb.Encoder(layered, device="cpu").encode(TEXTS)
    fake = runtime()
    encoder = sb.Encoder(layered, device="cuda:1")
    got = np.full((len(TEXTS), encoder.dim), np.nan, np.float32)
    for positions, vectors in encoder.device_batches(TEXTS):
        got[positions] = np.from_dlpack(vectors)
    np.testing.assert_allclose(got, expected, atol=1e-6)
    assert {entry[1:] for entry in fake.seen if entry[0] in ("input", "output")} == {("cuda", 1)}
    assert not any(entry[0] == "run" for entry in fake.seen), "something came back through the host"


# -- CUDA graphs


def bound_runs(fake: FakeRuntime) -> list[str]:
    return [entry[1] for entry in fake.seen if entry[0] == "bound run"]


def test_small_batches_are_recorded_by_shape_and_replayed(layered: Path, runtime: Callable[..., FakeRuntime]) -> None:
    expected = {text: sb.Encoder(layered, device="cpu").encode([text]) for text in TEXTS}
    fake = runtime()
    encoder = sb.Encoder(layered, device="cuda", cuda_graphs=True)
    assert fake.asked == [[(devices.CUDA, {"device_id": 0, "enable_cuda_graph": "1"}), devices.CPU]]
    for text in ["cat", "dog", "tree", "cat", "the cat runs.", "dog"]:
        assert np.array_equal(encoder.encode([text]), expected[text])
    # the first run of a shape finds its buffers, the others replay its graph
    assert bound_runs(fake) == ["-1", "1", "1", "1", "-1", "1"]
    replayed = [entry[2] for entry in fake.seen if entry[0] == "bound run" and entry[1] == "1"]
    assert len(set(replayed)) == 1, "a graph writes where it was recorded to write"


def test_rows_are_filled_up_to_a_power_of_two(layered: Path, runtime: Callable[..., FakeRuntime]) -> None:
    expected = sb.Encoder(layered, device="cpu").encode(["cat", "dog", "tree", "cat", "big"])
    fake = runtime()
    encoder = sb.Encoder(layered, device="cuda", cuda_graphs=True)
    for count in (3, 4, 5, 3):
        assert np.array_equal(encoder.encode(["cat", "dog", "tree", "cat", "big"][:count]), expected[:count])
    assert bound_runs(fake) == ["-1", "1", "-1", "1"]


def test_large_batches_and_shapes_too_many_run_as_usual(
    layered: Path, runtime: Callable[..., FakeRuntime], monkeypatch: pytest.MonkeyPatch
) -> None:
    fake = runtime()
    encoder = sb.Encoder(layered, device="cuda", cuda_graphs=True)
    assert encoder.encode(["cat"] * (replays.MAX_ROWS + 1)).shape == (replays.MAX_ROWS + 1, 32)
    assert fake.seen == [("run", "-1")]
    monkeypatch.setattr(replays, "MAX_GRAPHS", 1)
    for text in ("cat", "the cat runs.", "cat"):
        encoder.encode([text])
    assert [entry[:2] for entry in fake.seen if "run" in entry[0]][1:] == [
        ("bound run", "-1"), ("run", "-1"), ("bound run", "1"),
    ]  # fmt: skip


def test_results_are_not_overwritten_by_the_next_replay(layered: Path, runtime: Callable[..., FakeRuntime]) -> None:
    runtime()
    encoder = sb.Encoder(layered, device="cuda", cuda_graphs=True, pooling="cls")
    first, second = encoder.encode(["cat"], normalize=False), encoder.encode(["cat dog"], normalize=False)
    kept = encoder.encode(["dog cat"], normalize=False)
    before = [array.copy() for array in (first, second, kept)]
    encoder.encode(["tree big"]), encoder.encode(["tree"])
    assert all(np.array_equal(a, b) for a, b in zip(before, (first, second, kept), strict=True))


def test_callers_share_replayed_batches(layered: Path, runtime: Callable[..., FakeRuntime]) -> None:
    expected = sb.Encoder(layered, device="cpu").encode(TEXTS)
    runtime()
    encoder = sb.Encoder(layered, device="cuda", cuda_graphs=True)

    async def callers() -> list[np.ndarray]:
        return await asyncio.gather(*(encoder.aencode([text]) for text in TEXTS * 5))

    assert np.array_equal(np.concatenate(asyncio.run(callers())), np.concatenate([expected] * 5))


def test_a_model_that_cannot_be_recorded_says_so(layered: Path, runtime: Callable[..., FakeRuntime]) -> None:
    def refuse(providers: list[Any]) -> list[Any]:
        raise RuntimeError("This session cannot use the graph capture feature as requested by the user")

    runtime(ALL, refuse)
    with pytest.raises(sb.UnsupportedError, match="cuda_graphs: expected a model that runs on the GPU as a whole"):
        sb.Encoder(layered, device="cuda", cuda_graphs=True)


@pytest.mark.parametrize(("device", "graphs"), [("cpu", True), ("auto", True), ("cuda", 1), ("cuda", None)])
def test_graphs_are_asked_for_with_cuda_only(layered: Path, device: str, graphs: Any) -> None:
    with pytest.raises(sb.ArgumentError, match="cuda_graphs: expected a bool, True only with device='cuda'"):
        sb.Encoder(layered, device=device, cuda_graphs=graphs)


# -- TensorRT


def test_tensorrt_is_taken_only_when_asked_for(layered: Path, runtime: Callable[..., FakeRuntime]) -> None:
    fake = runtime()
    encoder = sb.Encoder(layered, device="tensorrt:1")
    assert encoder.device == "tensorrt"
    assert fake.asked == [[(devices.TENSORRT, {"device_id": 1}), (devices.CUDA, {"device_id": 1}), devices.CPU]]
    positions, _ = next(encoder.device_batches(TEXTS))
    assert len(positions)
    assert {entry[1:] for entry in fake.seen if entry[0] == "input"} == {("cuda", 1)}
    fake.asked.clear()
    assert sb.Encoder(layered, device="auto").device == "cuda"
    assert fake.asked == [[(devices.CUDA, {"device_id": 0}), devices.CPU]]


def test_a_tensorrt_session_that_falls_back_is_caught(layered: Path, runtime: Callable[..., FakeRuntime]) -> None:
    runtime(ALL, lambda providers: providers[1:])
    with pytest.raises(sb.UnsupportedError, match=r"expected 'tensorrt', got a session on cuda \(libnvinfer.so.10"):
        sb.Encoder(layered, device="tensorrt")
    runtime([devices.CUDA, devices.CPU])
    with pytest.raises(sb.UnsupportedError, match="an ONNX Runtime built without TensorRT"):
        sb.Encoder(layered, device="tensorrt")


def test_neither_is_here_without_its_runtime(layered: Path) -> None:
    if devices.CUDA in onnxruntime.get_available_providers():
        pytest.skip("this ONNX Runtime has CUDA")
    for device in ("cuda", "cuda:1", "tensorrt"):
        with pytest.raises(sb.UnsupportedError, match=f"expected '{device}', got an ONNX Runtime without CUDA"):
            sb.Encoder(layered, device=device)
    with pytest.raises(sb.UnsupportedError, match="expected 'cpu' for a static encoder, got 'tensorrt'"):
        sb.Encoder(device="tensorrt")


def test_auto_says_why_it_did_not_take_cuda(
    layered: Path,
    runtime: Callable[..., FakeRuntime],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    runtime([devices.CUDA, devices.CPU], lambda providers: providers[1:])
    monkeypatch.setattr(runner, "_said", set())
    with caplog.at_level(logging.WARNING, "semblance"):
        assert sb.Encoder(layered, device="auto").device == "cpu"
    assert [record.getMessage().split(" (")[0] for record in caplog.records] == ["encoder device: cpu"]
