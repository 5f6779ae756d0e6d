"""`semblance quantize`: every kind of file, the error it prints, and what it refuses."""

from __future__ import annotations

import json
import pickle
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import safetensors.numpy
from typer.testing import CliRunner

from semblance.commands import app
from semblance.tables import EmbeddingTable

WEIGHTS = np.random.default_rng(0).standard_normal((50, 12)).astype(np.float32)


def run(*arguments: Any, code: int = 0) -> Any:
    result = CliRunner().invoke(app, ["quantize", *map(str, arguments)])
    assert result.exit_code == code, result.output
    assert "Traceback" not in result.output
    return result


def parquet(path: Path, kind: pa.DataType, **columns: Any) -> Path:
    rows = pa.array(WEIGHTS.astype(np.float16 if kind.value_type == pa.float16() else np.float32).tolist(), kind)
    pq.write_table(pa.table({"weight": rows, **columns}), path)
    return path


def bfloat(path: Path) -> Path:
    bits = (WEIGHTS.view(np.uint32) >> 16).astype(np.uint16)
    header = json.dumps({"w": {"dtype": "BF16", "shape": [50, 12], "data_offsets": [0, bits.nbytes]}}).encode()
    path.write_bytes(len(header).to_bytes(8, "little") + header + bits.tobytes())
    return path


def sources(folder: Path) -> dict[str, Path]:
    np.save(folder / "a.npy", WEIGHTS)
    np.save(folder / "wide.npy", WEIGHTS.astype(np.float64))
    np.save(folder / "fortran.npy", np.asfortranarray(WEIGHTS))
    safetensors.numpy.save_file({"emb": WEIGHTS, "bias": WEIGHTS[0]}, folder / "b.safetensors")
    return {
        **{name: folder / f"{name}.npy" for name in ("a", "wide", "fortran")},
        "safetensors": folder / "b.safetensors",
        "bf16": bfloat(folder / "c.safetensors"),
        "parquet": parquet(folder / "d.parquet", pa.list_(pa.float32())),
        "fixed": parquet(folder / "e.parquet", pa.list_(pa.float32(), 12)),
        "double": parquet(folder / "f.parquet", pa.large_list(pa.float64())),
    }


@pytest.mark.parametrize("name", ["a", "wide", "fortran", "safetensors", "bf16", "parquet", "fixed", "double"])
def test_every_file(tmp_path, name):
    out = tmp_path / "out.sb"
    result = json.loads(run(sources(tmp_path)[name], "-o", out, "--json").stdout)
    table = EmbeddingTable.load(out)
    expected = (WEIGHTS.view(np.uint32) & 0xFFFF0000).view(np.float32) if name == "bf16" else WEIGHTS
    np.testing.assert_array_equal(table.lookup(np.arange(50)), EmbeddingTable.from_dense(expected).lookup(range(50)))
    assert (result["rows"], result["dim"], result["dtype"], result["bytes_per_row"]) == (50, 12, "i8", 16)
    difference = table.lookup(np.arange(50)).astype(np.float64) - expected
    assert result["rmse"] == pytest.approx((difference**2).mean() ** 0.5)
    assert result["relative"] == pytest.approx(((difference**2).sum() / (expected.astype(float) ** 2).sum()) ** 0.5)
    assert result["largest"] == pytest.approx(np.abs(difference).max())
    assert 0.999 < result["cosine"] < 1


def test_text_and_formats(tmp_path):
    np.save(tmp_path / "a.npy", WEIGHTS)
    errors = []
    for dtype in ("f32", "f16", "bf16", "i8", "i4", "i2", "fp8"):
        text = run(tmp_path / "a.npy", "-o", tmp_path / "out.sb", "--dtype", dtype).stdout
        assert f"50 rows x 12 as {dtype}" in text
        assert "error: rmse " in text
        errors.append(
            json.loads(run(tmp_path / "a.npy", "-o", tmp_path / "o", "--dtype", dtype, "--json").stdout)["rmse"]
        )
    f32, f16, bf16, i8, i4, i2, fp8 = errors
    assert f32 == 0 < f16 < bf16 < i8 < fp8 < i4 < i2


def test_keys(tmp_path):
    ids = pa.array(np.arange(50) * 7)
    file = parquet(tmp_path / "a.parquet", pa.list_(pa.float32()), id=ids, word=[f"w{i}" for i in range(50)])
    run(file, "-o", tmp_path / "o.sb", "--key-column", "id", "--missing", "zero")
    assert EmbeddingTable.load(tmp_path / "o.sb").lookup([7, 8])[1].tolist() == [0.0] * 12
    run(file, "-o", tmp_path / "o.sb", "--key-column", "word")
    assert "w49" in EmbeddingTable.load(tmp_path / "o.sb")


class Bomb:
    """Leaves a file behind if anyone unpickles it."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return (Path.touch, (self.path,))


@pytest.mark.parametrize("suffix", [".pt", ".pth", ".bin", ".ckpt", ".pkl", ".npy", ".safetensors", ".parquet", ".npz"])
def test_nothing_is_unpickled(tmp_path, suffix):
    bomb, trace = tmp_path / f"bomb{suffix}", tmp_path / "trace"
    if suffix == ".npy":
        np.save(bomb, np.array([Bomb(trace)], object), allow_pickle=True)
    else:
        bomb.write_bytes(pickle.dumps(Bomb(trace)))
    result = run(bomb, "-o", tmp_path / "o.sb", code=1)
    assert not trace.exists()
    assert not (tmp_path / "o.sb").exists()
    assert "expected" in result.stderr
    if suffix in (".pt", ".pth", ".bin"):
        assert "safetensors.torch.save_file" in result.stderr


def test_refused(tmp_path):
    files = sources(tmp_path)
    safetensors.numpy.save_file({"x": WEIGHTS, "y": WEIGHTS}, tmp_path / "two.safetensors")
    np.save(tmp_path / "ints.npy", np.arange(6).reshape(2, 3))
    np.save(tmp_path / "nan.npy", np.full((2, 3), np.nan, np.float32))
    pq.write_table(pa.table({"w": [[1.0, 2.0], [1.0]]}), tmp_path / "ragged.parquet")
    pq.write_table(pa.table({"w": [[1.0, 2.0], None]}), tmp_path / "null.parquet")
    pq.write_table(pa.table({"w": [[1.0], [2.0]], "k": [1, 1], "f": [0.5, 1.5]}), tmp_path / "twice.parquet")
    for arguments, message in (
        ([tmp_path / "none.npy"], "nothing there"),
        ([tmp_path / "a.csv"], "expected a file named"),
        ([tmp_path], "expected a file named"),
        ([files["a"], "--dtype", "i3"], "dtype: expected one of"),
        ([files["a"], "--tensor", "x"], "a tensor name for .safetensors"),
        ([files["a"], "--missing", "row:50"], "missing: expected"),
        ([tmp_path / "two.safetensors"], "expected one float matrix, got ['x', 'y'] (--tensor names one)"),
        ([tmp_path / "two.safetensors", "--tensor", "z"], "float matrix tensor 'z'"),
        ([tmp_path / "ints.npy"], "expected floats of shape (n, d), got int64"),
        ([tmp_path / "nan.npy"], "weights: expected finite"),
        ([tmp_path / "ragged.parquet"], "lists of equal length"),
        ([tmp_path / "null.parquet"], "lists of equal length without nulls"),
        ([tmp_path / "twice.parquet", "--key-column", "k"], "every key once"),
        ([tmp_path / "twice.parquet", "--key-column", "f"], "integer or text keys"),
        ([tmp_path / "twice.parquet", "--key-column", "x"], "expected a key column"),
        ([files["a"], "--column", "x"], "columns for .parquet"),
    ):
        result = run(*arguments, "-o", tmp_path / "o.sb", code=1)
        assert message in " ".join(result.stderr.split()), result.stderr
        assert not (tmp_path / "o.sb").exists()


@pytest.mark.parametrize("name", ["a", "safetensors", "parquet"])
def test_cut_files(tmp_path, name):
    path = sources(tmp_path)[name]
    whole = path.read_bytes()
    for length in (0, 1, 7, 8, 40, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:length])
        run(path, "-o", tmp_path / "o.sb", code=1)


@pytest.mark.parametrize(("module", "suffix"), [("safetensors", ".safetensors"), ("pyarrow", ".parquet")])
def test_a_missing_reader_is_named(tmp_path, monkeypatch, module, suffix):
    monkeypatch.setitem(sys.modules, module, None)
    (tmp_path / f"a{suffix}").write_bytes(b"x")
    assert "semblance[quantize]" in run(tmp_path / f"a{suffix}", "-o", tmp_path / "o.sb", code=1).stderr
