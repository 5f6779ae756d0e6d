"""Damaged, foreign and crafted files: a FormatError that names the section, never wrong data, never a crash."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from crafting import metadata_of, write_file, write_header_text

from semblance import FormatError, NotFoundError, storage


@pytest.fixture
def tensors() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(7)
    return {
        "vectors": rng.standard_normal((6, 7)).astype(np.float32),
        "twin_a": rng.integers(0, 255, 64, np.uint8),
        "twin_b": rng.integers(0, 255, 64, np.uint8),
        "flags": rng.integers(0, 2, 5).astype(bool),
        "empty": np.zeros((0, 3), np.int64),
    }


@pytest.fixture
def good(tmp_path: Path, tensors: dict[str, np.ndarray]) -> bytes:
    storage.write(tmp_path / "good", tensors, {"kind": "test", "metric": "cosine"})
    return (tmp_path / "good").read_bytes()


def assert_refused_or_equal(path: Path, tensors: dict[str, np.ndarray]) -> bool:
    """Return whether the file was refused; anything that is read must equal the original."""
    outcomes = []
    for mmap in (False, True):
        try:
            got, metadata = storage.read(path, mmap=mmap)
        except FormatError:
            outcomes.append(True)
            continue
        assert metadata == {"kind": "test", "metric": "cosine"}
        assert got.keys() == tensors.keys()
        assert all(np.array_equal(got[name], tensors[name]) for name in tensors)
        outcomes.append(False)
    assert outcomes[0] == outcomes[1]
    return outcomes[0]


def test_every_truncation_is_refused(tmp_path: Path, good: bytes, tensors: dict[str, np.ndarray]) -> None:
    path = tmp_path / "cut"
    for length in range(len(good)):
        path.write_bytes(good[:length])
        assert assert_refused_or_equal(path, tensors), length


def test_every_byte_flipped_is_refused(tmp_path: Path, good: bytes, tensors: dict[str, np.ndarray]) -> None:
    path = tmp_path / "flip"
    rng = np.random.default_rng(1)
    for at in range(len(good)):
        damaged = bytearray(good)
        damaged[at] ^= 1 << int(rng.integers(8))
        path.write_bytes(damaged)
        assert assert_refused_or_equal(path, tensors), at


def test_random_damage_is_refused(tmp_path: Path, good: bytes, tensors: dict[str, np.ndarray]) -> None:
    path = tmp_path / "random"
    rng = np.random.default_rng(2)
    for _ in range(1500):
        damaged = bytearray(good)
        match rng.integers(4):
            case 0:  # a few bytes replaced
                for at in rng.integers(len(good), size=rng.integers(1, 5)):
                    damaged[at] = int(rng.integers(256))
            case 1:  # a run of zeros, as after a lost page
                at, length = rng.integers(len(good)), rng.integers(1, 600)
                damaged[at : at + length] = bytes(len(damaged[at : at + length]))
            case 2:  # something appended
                damaged += rng.bytes(int(rng.integers(1, 100)))
            case _:  # bytes lost in the middle
                at = rng.integers(len(good))
                del damaged[at : at + int(rng.integers(1, 80))]
        path.write_bytes(damaged)
        assert assert_refused_or_equal(path, tensors) or bytes(damaged) == good


def test_swapped_sections_are_refused(tmp_path: Path, good: bytes, tensors: dict[str, np.ndarray]) -> None:
    a, b = tensors["twin_a"].tobytes(), tensors["twin_b"].tobytes()
    swapped = good.replace(a, b"?" * 64).replace(b, a).replace(b"?" * 64, b)
    assert swapped != good
    (tmp_path / "swapped").write_bytes(swapped)
    with pytest.raises(FormatError, match="tensor 'twin_a': expected checksum"):
        storage.read(tmp_path / "swapped")
    renamed = good.replace(b"twin_a", b"twin_c").replace(b"twin_b", b"twin_a").replace(b"twin_c", b"twin_b")
    (tmp_path / "renamed").write_bytes(renamed)
    with pytest.raises(FormatError, match="header: expected checksum"):
        storage.read(tmp_path / "renamed", verify=False)


def test_missing_empty_foreign(tmp_path: Path) -> None:
    with pytest.raises(FormatError, match="expected a semblance file, got no file"):
        storage.read(tmp_path / "nowhere")
    for kind in (NotFoundError, FileNotFoundError):
        with pytest.raises(kind):
            storage.read(tmp_path / "nowhere")
    (tmp_path / "empty").touch()
    with pytest.raises(FormatError, match="header length: expected 8 bytes, got 0"):
        storage.read(tmp_path / "empty")
    with pytest.raises(FormatError, match="readable file"):
        storage.read(tmp_path)
    with pytest.raises(FormatError, match="readable file"):
        storage.read("a\0b")
    for name, content in {"text": b"hello, world\n" * 20, "numpy": b"\x93NUMPY\x01\x00v\x00" + b"x" * 200}.items():
        (tmp_path / name).write_bytes(content)
        with pytest.raises(FormatError, match="header length"):
            storage.read(tmp_path / name)


def test_safetensors_of_another_maker_is_foreign(tmp_path: Path) -> None:
    from safetensors.numpy import save_file

    save_file({"x": np.ones(3)}, tmp_path / "a")
    save_file({"x": np.ones(3)}, tmp_path / "b", metadata={"format": "pt"})
    for name, got in (("a", "None"), ("b", "'pt'")):
        with pytest.raises(FormatError, match=f"metadata: format: expected 'semblance', got {got}"):
            storage.read(tmp_path / name)


def entry(dtype: Any = "U8", shape: Any = (64,), offsets: Any = (0, 64)) -> dict[str, Any]:
    return {"dtype": dtype, "shape": shape, "data_offsets": offsets}


def test_crafting_itself_is_right(tmp_path: Path) -> None:
    path = write_file(tmp_path / "a", {"x": entry()}, bytes(range(64)))
    np.testing.assert_array_equal(storage.read(path)[0]["x"], np.arange(64))


@pytest.mark.parametrize(
    ("version", "message"),
    [("2", "at most 1, got 2 .written by a newer"), ("999999999", "newer"), ("0", "at most"), ("-1", "a number"),
     ("x", "a number"), ("²", "a number"), ("9" * 5000, "a number"), (None, "a number"), (7, "a number")],
)  # fmt: skip
def test_versions(tmp_path: Path, version: Any, message: str) -> None:
    path = write_file(tmp_path / "a", {}, b"", format_version=version)
    with pytest.raises(FormatError, match="format_version: expected .*" + message):
        storage.read(path, verify=False)


@pytest.mark.parametrize(
    ("entries", "message"),
    [
        ({"x": entry(offsets=(0, 128), shape=(128,))}, "data: expected 128 bytes, got 64"),
        ({"x": entry(shape=(32,), offsets=(0, 32))}, "data: expected 32 bytes, got 64"),
        ({"x": entry(shape=(63,))}, "tensor 'x': expected 63 bytes, got 64"),
        ({"x": entry(dtype="F64", shape=(2**61,), offsets=(0, 64))}, "tensor 'x': expected .* bytes"),
        ({"x": entry(shape=(2**40, 2**40), offsets=(0, 64))}, "tensor 'x'"),
        ({"x": entry(shape=(1 << 40,), offsets=(0, 1 << 40))}, "data: expected 1099511627776 bytes"),
        ({"x": entry(shape=(-64,))}, "tensor 'x': expected a shape"),
        ({"x": entry(shape=(True,) * 3, offsets=(0, 1))}, "tensor 'x': expected a shape"),
        ({"x": entry(shape=(64.0,))}, "tensor 'x': expected a shape"),
        ({"x": entry(shape="64")}, "tensor 'x': expected a shape"),
        ({"x": entry(shape=(1,) * 33 + (64,))}, "tensor 'x': expected a shape"),
        ({"x": entry(shape=(10**30,), offsets=(0, 10**30))}, "tensor 'x': expected a shape"),
        ({"x": entry(offsets=(64, 0))}, "tensor 'x': expected data_offsets"),
        ({"x": entry(offsets=(-64, 0))}, "tensor 'x': expected data_offsets"),
        ({"x": entry(offsets=(0, 64, 64))}, "tensor 'x': expected data_offsets"),
        ({"x": entry(offsets=None)}, "tensor 'x': expected data_offsets"),
        ({"x": entry(), "y": entry()}, "tensor 'y': expected data from byte 64"),
        ({"x": entry(shape=(32,), offsets=(0, 32)), "y": entry(shape=(32,), offsets=(32, 64))}, "multiple of 64"),
        ({"x": entry(shape=(8,), offsets=(56, 64))}, "tensor 'x': expected data from byte 0"),
        ({"x": entry(dtype="BF16", shape=(32,))}, "tensor 'x': expected dtype of"),
        ({"x": entry(dtype=["U8"])}, "tensor 'x': expected dtype of"),
        ({"x": {"dtype": "U8", "shape": [64]}}, "tensor 'x': expected dtype, shape and data_offsets"),
        ({"x": 5}, "tensor 'x': expected dtype, shape and data_offsets"),
        ({"e": entry(shape=(0, 2**61), offsets=(0, 0), dtype="F64"), "x": entry()}, "tensor 'e'"),
    ],
)
@pytest.mark.parametrize("mmap", [False, True])
def test_crafted_sections(tmp_path: Path, entries: dict[str, Any], message: str, mmap: bool) -> None:
    path = write_file(tmp_path / "a", entries, bytes(64))
    with pytest.raises(FormatError, match=message):
        storage.read(path, mmap=mmap, verify=False)


@pytest.mark.parametrize(
    "text",
    [
        '{"__metadata__":%s,"__metadata__":%s}',
        '{"__metadata__":%s,"x":{"dtype":"U8","dtype":"I8","shape":[0],"data_offsets":[0,0]}}%.0s',
        '{"__metadata__":%s,"x":NaN}%.0s',
        '{"__metadata__":%s',
        '[%s]',
        '"%.0s"',
        '[' * 100_000 + '%.0s',
        '{"__metadata__":%s,"x":{"dtype":"U8","shape":[' + '9' * 6000 + '],"data_offsets":[0,0]}}%.0s',
        '{"__metadata__":[]}%.0s',
        '{}%.0s',
    ],
)  # fmt: skip
def test_crafted_headers(tmp_path: Path, text: str) -> None:
    metadata = json.dumps(metadata_of({}), separators=(",", ":"))
    filled = text.replace("%.0s", "").replace("%s", metadata)
    path = write_header_text(tmp_path / "a", filled, b"")
    with pytest.raises(FormatError, match=r"header|metadata"):
        storage.read(path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"tensor_checksums": None}, "tensor_checksums: expected a JSON object"),
        ({"tensor_checksums": "[]"}, "tensor_checksums: expected one for each"),
        ({"tensor_checksums": '{"x":"00","y":"00"}'}, "tensor_checksums: expected one for each"),
        ({"tensor_checksums": '{"x":"00","x":"00"}'}, "tensor_checksums: expected a JSON object"),
        ({"tensor_checksums": '{"x":7}'}, "tensor 'x': expected checksum"),
        ({"header_checksum": None}, "header: expected checksum"),
        ({"header_checksum": 5}, "header: expected checksum"),
        ({"other": 5}, "metadata: other: expected text, got int"),
    ],
)
def test_crafted_metadata(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    path = write_file(tmp_path / "a", {"x": entry()}, bytes(64), **change)
    with pytest.raises(FormatError, match=message):
        storage.read(path)


def test_bytes_that_are_no_bool_and_padding_that_is_not_zero(tmp_path: Path) -> None:
    path = write_file(tmp_path / "a", {"x": entry("BOOL", (64,))}, bytes([2] * 64))
    with pytest.raises(FormatError, match="tensor 'x': expected bytes 0 and 1, got 2"):
        storage.read(path)
    path = write_file(tmp_path / "b", {"__pad_0": entry()}, bytes([1] * 64))
    with pytest.raises(FormatError, match="tensor '__pad_0': expected zeros"):
        storage.read(path)


def test_a_header_length_beyond_the_file_allocates_nothing(tmp_path: Path) -> None:
    for length in (2**63, 2**64 - 1, 200_000_000, 0, 1):
        (tmp_path / "a").write_bytes(length.to_bytes(8, "little") + b"{}" + bytes(54))
        with pytest.raises(FormatError, match="header length: expected at most 56 bytes"):
            storage.read(tmp_path / "a")
