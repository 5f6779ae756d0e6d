"""FBGEMM's table-batched embeddings and torch's quantised embedding bags, over the very rows of our tables."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from fbgemm_gpu.split_embedding_configs import SparseType
from fbgemm_gpu.split_table_batched_embeddings_ops_common import EmbeddingLocation, PoolingMode
from fbgemm_gpu.split_table_batched_embeddings_ops_inference import IntNBitTableBatchedEmbeddingBagsCodegen

TYPES = {"i8": SparseType.INT8, "i4": SparseType.INT4, "i2": SparseType.INT2, "fp8": SparseType.FP8}


class Fbgemm:
    """IntNBitTableBatchedEmbeddingBagsCodegen on the host; `pruned_keys` sends indices through its remap hash."""

    name = "fbgemm"

    def __init__(self, dtype: str, tables: list, pruned_keys: list | None = None) -> None:
        fp8 = {"fp8_exponent_bits": 4, "fp8_exponent_bias": 7} if dtype == "fp8" else {}
        stored = [table._tensors()[0]["rows"] for table in tables]
        specs = [
            (f"t{i}", len(rows), table.dim, TYPES[dtype], EmbeddingLocation.HOST)
            for i, (rows, table) in enumerate(zip(stored, tables, strict=True))
        ]
        remap = None
        if pruned_keys is not None:
            remap = [torch.full((int(keys.max()) + 1,), -1, dtype=torch.int32) for keys in pruned_keys]
            for mapping, keys in zip(remap, pruned_keys, strict=True):
                mapping[torch.from_numpy(keys)] = torch.arange(len(keys), dtype=torch.int32)
        self.module = IntNBitTableBatchedEmbeddingBagsCodegen(
            specs,
            device="cpu",
            pooling_mode=PoolingMode.SUM,
            output_dtype=SparseType.FP32,
            index_remapping=remap,
            use_array_for_index_remapping=False,
            **fp8,
        )
        self.module.initialize_weights()
        for (codes, heads), rows in zip(self.module.split_embedding_weights(), stored, strict=True):
            if heads is None:
                codes.copy_(torch.from_numpy(rows[:, 4:]))
            else:
                heads.copy_(torch.from_numpy(rows[:, :4]))
                codes.copy_(torch.from_numpy(rows[:, 4:]))

    def prepare(self, bags: list[tuple[np.ndarray, np.ndarray]]) -> Callable[[], np.ndarray]:
        sizes = np.cumsum([0, *(len(values) for values, _ in bags)])
        offsets = [offsets[:-1] + first for (_, offsets), first in zip(bags, sizes, strict=False)]
        indices = torch.from_numpy(np.concatenate([values for values, _ in bags])).int()
        all_offsets = torch.from_numpy(np.append(np.concatenate(offsets), sizes[-1])).int()

        return lambda: self.module(indices, all_offsets).numpy()


class Torch:
    """torch.ops.quantized.embedding_bag_{byte,4bit}_rowwise_offsets, a call a table, joined."""

    name = "torch"

    def __init__(self, dtype: str, tables: list) -> None:
        self.op = {
            "i8": torch.ops.quantized.embedding_bag_byte_rowwise_offsets,
            "i4": torch.ops.quantized.embedding_bag_4bit_rowwise_offsets,
        }[dtype]
        self.rows = [torch.from_numpy(self.layout(dtype, table._tensors()[0]["rows"])) for table in tables]

    @staticmethod
    def layout(dtype: str, rows: np.ndarray) -> np.ndarray:
        """Head last; the byte format has it in f32."""
        head = np.ascontiguousarray(rows[:, :4])
        if dtype == "i8":
            head = head.view(np.float16).astype(np.float32).view(np.uint8)
        return np.ascontiguousarray(np.concatenate([rows[:, 4:], head], axis=1))

    def prepare(self, bags: list[tuple[np.ndarray, np.ndarray]]) -> Callable[[], np.ndarray]:
        own = [(torch.from_numpy(values).int(), torch.from_numpy(offsets[:-1]).int()) for values, offsets in bags]

        def call() -> np.ndarray:
            parts = [self.op(rows, *bag, False, 0) for rows, bag in zip(self.rows, own, strict=True)]
            return torch.cat(parts, 1).numpy()

        return call
