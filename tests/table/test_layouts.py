"""Other libraries' row layouts, there and back, byte for byte."""

from __future__ import annotations

import numpy as np
import pytest

import semblance as sb
from semblance.tables import EmbeddingTable, export_rows, import_rows

FORMATS = ("f32", "f16", "bf16", "i8", "i4", "i2")


def table(dtype: str, dim: int = 13) -> EmbeddingTable:
    return EmbeddingTable.from_dense(np.random.default_rng(0).standard_normal((9, dim)).astype(np.float32), dtype)


@pytest.mark.parametrize(
    ("dtype", "layout"), [*((dtype, "fbgemm") for dtype in FORMATS), *((d, "torch") for d in ("i8", "i4", "i2"))]
)
def test_there_and_back(dtype, layout):
    built = table(dtype)
    rows = export_rows(built, layout)
    again = import_rows(rows, dtype, 13, layout)
    np.testing.assert_array_equal(again.lookup(np.arange(9)), built.lookup(np.arange(9)))
    np.testing.assert_array_equal(export_rows(again, layout), rows)


def test_documented_bytes():
    """Written by hand: scale 0.5, bias -1, codes 1 2 3; even codes in the low half of a byte."""
    head = np.array([0.5, -1], np.float16).view(np.uint8)
    built = import_rows(np.concatenate([head, [1 | 2 << 4, 3]]).astype(np.uint8)[None], "i4", 3)
    assert built.lookup([0]).tolist() == [[-0.5, 0, 0.5]]
    wide = np.array([0.5, -1], np.float32).view(np.uint8)
    built = import_rows(np.concatenate([[1, 2, 3], wide]).astype(np.uint8)[None], "i8", 3, "torch")
    assert built.lookup([0]).tolist() == [[-0.5, 0, 0.5]]
    assert import_rows(np.array([[0x38, 0xB8, 0x01]], np.uint8), "fp8", 3).lookup([0]).tolist() == [[1, -1, 2.0**-9]]
    assert export_rows(import_rows(np.array([[0x38, 0xB8]], np.uint8), "fp8", 2)).tolist() == [[0x38, 0xB8]]


def test_refused():
    nan = np.array([np.nan, 0], np.float16).view(np.uint8)
    odd = np.array([0.1, 0], np.float32).view(np.uint8)
    for call, message in [
        (lambda: import_rows(np.zeros((2, 9), np.uint8), "i8", 4), "bytes a row"),
        (lambda: import_rows(np.zeros((2, 8)), "i8", 4), "rows: expected uint8"),
        (lambda: import_rows(np.concatenate([nan, [1]]).astype(np.uint8)[None], "i8", 1), "finite"),
        (
            lambda: import_rows(np.concatenate([[1], odd]).astype(np.uint8)[None], "i8", 1, "torch"),
            "fp16 holds exactly",
        ),
        (lambda: import_rows(np.zeros((2, 2), np.uint8), "i4", 4, "torch"), "codes and a head"),
        (lambda: import_rows(np.zeros((2, 8), np.uint8), "f16", 4, "torch"), "torch's layout"),
        (lambda: import_rows(np.zeros((2, 8), np.uint8), "i8", 4, "onnx"), "layout"),
        (lambda: export_rows(table("fp8")), "scale 1"),
        (lambda: export_rows(table("f32"), "torch"), "torch's layout"),
    ]:
        with pytest.raises(sb.ArgumentError, match=message):
            call()
    changed = table("i8")
    with changed.writer() as writer:
        writer.remove([0])
    with pytest.raises(sb.ArgumentError, match="compact first"):
        export_rows(changed)
