"""The slow truth: rows decoded value by value with NumPy, sums as exactly rounded fused multiply-adds."""

from __future__ import annotations

import types

import numpy as np
import pytest

INTEGER_BITS = {"i8": 8, "i4": 4, "i2": 2}


def e4m3(codes: np.ndarray) -> np.ndarray:
    sign = np.where(codes & 0x80, -1.0, 1.0)
    exponent, mantissa = (codes >> 3 & 15).astype(np.int64), (codes & 7).astype(np.float64)
    value = np.where(exponent == 0, mantissa / 8 * 2.0**-6, (1 + mantissa / 8) * 2.0 ** (exponent - 7))
    return (sign * value).astype(np.float32)


def split_rows(dtype: str, rows: np.ndarray, dim: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Codes as float32 (n, dim), scale (n, 1), bias (n, 1)."""
    n = len(rows)
    if dtype in ("f32", "f16"):
        codes = rows.view(np.float32 if dtype == "f32" else np.float16).astype(np.float32)
        return codes, np.ones((n, 1), np.float32), np.zeros((n, 1), np.float32)
    if dtype == "bf16":
        codes = (rows.view(np.uint16).astype(np.uint32) << 16).view(np.float32)
        return codes, np.ones((n, 1), np.float32), np.zeros((n, 1), np.float32)
    head = np.ascontiguousarray(rows[:, :4]).view(np.float16).astype(np.float32)
    body = rows[:, 4:]
    if dtype == "fp8":
        return e4m3(body), head[:, :1], head[:, 1:]
    bits = INTEGER_BITS[dtype]
    parts = [body >> shift & (2**bits - 1) for shift in range(0, 8, bits)]
    return np.stack(parts, -1).reshape(n, -1)[:, :dim].astype(np.float32), head[:, :1], head[:, 1:]


def fma(a: np.ndarray, b: np.ndarray, c: np.ndarray) -> np.ndarray:
    wide = np.longdouble
    return (a.astype(wide) * b.astype(wide) + c.astype(wide)).astype(np.float32)


def decode(dtype: str, rows: np.ndarray, dim: int) -> np.ndarray:
    codes, scale, bias = split_rows(dtype, rows, dim)
    return codes if dtype in ("f32", "f16", "bf16") else fma(codes, scale, bias)


def pool(dtype, rows, dim, bags, *, weights, mode):
    """`bags`: for each the row numbers (-1 = a row of zeros) and, beside it in `weights`, its factors."""
    codes, scale, bias = split_rows(dtype, rows, dim)
    values = decode(dtype, rows, dim)
    out = np.zeros((len(bags), dim), np.float32)
    for b, (bag, factors) in enumerate(zip(bags, weights, strict=True)):
        if mode == "max":
            stack = [values[row] if row >= 0 else np.zeros(dim, np.float32) for row in bag]
            out[b] = np.max(stack, axis=0) if stack else 0
            continue
        for row, factor in zip(bag, factors, strict=True):
            if row >= 0:
                out[b] = fma(codes[row], np.float32(scale[row] * factor), out[b] + np.float32(bias[row] * factor))
        if mode == "mean" and len(bag):
            out[b] *= np.float32(1) / np.float32(len(bag))
    return out


@pytest.fixture(scope="session")
def model() -> types.SimpleNamespace:
    return types.SimpleNamespace(decode=decode, pool=pool, split_rows=split_rows, e4m3=e4m3)
