"""Arrays and streams of other libraries: what they may look like, and who waits for whom."""

from __future__ import annotations

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
