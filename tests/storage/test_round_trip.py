from __future__ import annotations

import errno
import json
import os
import stat
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from safetensors import safe_open
from safetensors.numpy import load_file

from semblance import ArgumentError, CapacityError, storage

DTYPES = ["?", "u1", "i1", "u2", "i2", "u4", "i4", "u8", "i8", "f2", "f4", "f8"]


def assert_same(got: dict[str, np.ndarray], want: dict[str, np.ndarray]) -> None:
    assert list(got) == list(want)
    for name, array in want.items():
        assert got[name].dtype == array.dtype.newbyteorder("<")
        assert got[name].shape == array.shape
        assert got[name].astype(array.dtype).tobytes() == array.tobytes(), name


def every_dtype() -> dict[str, np.ndarray]:
    return {code: (np.arange(9) % 2).astype(code) for code in DTYPES}


@pytest.mark.parametrize("mmap", [False, True])
@pytest.mark.parametrize("verify", [False, True])
def test_every_dtype_comes_back(tmp_path: Path, mmap: bool, verify: bool) -> None:
    path = tmp_path / "a.safetensors"
    storage.write(path, every_dtype(), {"kind": "test", "": "empty key", "ü": 'quote " and \n'})
    arrays, metadata = storage.read(path, mmap=mmap, verify=verify)
    assert_same(arrays, every_dtype())
    assert metadata == {"kind": "test", "": "empty key", "ü": 'quote " and \n'}


names = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=8).filter(lambda n: n[:2] != "__")
arrays = st.sampled_from(DTYPES).flatmap(
    lambda code: hnp.arrays(np.dtype(code), hnp.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=5))
)


@settings(max_examples=60, deadline=None)
@given(
    st.dictionaries(names, arrays, max_size=5),
    st.dictionaries(names, st.text(st.characters(exclude_categories=["Cs"]))),
)
def test_any_arrays_come_back_and_other_tools_read_them(
    tmp_path_factory: pytest.TempPathFactory, tensors: dict[str, np.ndarray], metadata: dict[str, str]
) -> None:
    path = tmp_path_factory.mktemp("any") / "a.safetensors"
    metadata = {k: v for k, v in metadata.items() if k not in storage._RESERVED}
    storage.write(path, tensors, metadata)
    for mmap in (False, True):
        got, parameters = storage.read(path, mmap=mmap)
        assert_same(got, tensors)
        assert parameters == metadata
    other = {name: array for name, array in load_file(path).items() if not name.startswith("__pad_")}
    assert_same({name: other[name] for name in tensors}, tensors)
    with safe_open(path, "np") as file:
        assert file.metadata().items() >= metadata.items()


def test_layouts_of_memory_that_are_not_plain(tmp_path: Path) -> None:
    base = np.arange(24, dtype=np.float32).reshape(4, 6)
    tensors = {"fortran": np.asfortranarray(base), "negative": base[::-1, ::-2], "big": base.astype(">f4")}
    tensors["read_only"] = base.copy()
    tensors["read_only"].flags.writeable = False
    storage.write(tmp_path / "a", tensors, {})
    got, _ = storage.read(tmp_path / "a")
    for name, array in tensors.items():
        np.testing.assert_array_equal(got[name], array)
        assert got[name].flags.c_contiguous


def test_every_tensor_is_aligned(tmp_path: Path) -> None:
    path = tmp_path / "a"
    storage.write(path, {f"t{n}": np.ones(n, np.uint8) for n in (1, 63, 64, 65, 0, 7)}, {"x": "y" * 17})
    raw = path.read_bytes()
    length = int.from_bytes(raw[:8], "little")
    header = json.loads(raw[8 : 8 + length])
    assert (8 + length) % 64 == 0
    for n in (1, 63, 64, 65, 7):
        assert header[f"t{n}"]["data_offsets"][0] % 64 == 0
    got, _ = storage.read(path, mmap=True)
    assert all(array.ctypes.data % 64 == 0 for array in got.values() if array.size)


def test_mmap_is_read_only_and_outlives_replacement(tmp_path: Path) -> None:
    path = tmp_path / "a"
    storage.write(path, {"x": np.arange(1000)}, {})
    got, _ = storage.read(path, mmap=True)
    storage.write(path, {"x": np.zeros(3)}, {})
    np.testing.assert_array_equal(got["x"], np.arange(1000))
    with pytest.raises(ValueError, match="read-only"):
        got["x"][0] = 1


def test_no_room_to_map_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOMEM, "Cannot allocate memory")

    storage.write(tmp_path / "a", {"x": np.arange(9)}, {})
    monkeypatch.setattr(storage._mmap, "mmap", full)
    with pytest.raises(CapacityError, match="bytes of address space"):
        storage.read(tmp_path / "a", mmap=True)


def test_flags_are_true_or_false(tmp_path: Path) -> None:
    storage.write(tmp_path / "a", {"x": np.arange(9)}, {})
    for flags in ({"mmap": np.zeros(2)}, {"verify": np.ones(3)}):
        with pytest.raises(ArgumentError, match="expected True or False, got float64"):
            storage.read(tmp_path / "a", **flags)  # type: ignore[arg-type]


def test_same_content_same_bytes(tmp_path: Path) -> None:
    for name in ("a", "b"):
        storage.write(tmp_path / name, every_dtype(), {"kind": "test"})
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_permissions_and_links_are_kept(tmp_path: Path) -> None:
    real, link = tmp_path / "real", tmp_path / "link"
    storage.write(real, {}, {})
    real.chmod(0o640)
    link.symlink_to(real)
    storage.write(link, {"x": np.ones(2)}, {})
    assert link.is_symlink()
    assert stat.S_IMODE(os.stat(real).st_mode) == 0o640
    assert list(storage.read(real)[0]) == ["x"]
    assert sorted(os.listdir(tmp_path)) == ["link", "real"]


@pytest.mark.parametrize(
    ("tensors", "metadata", "message"),
    [
        ({"__x": np.ones(1)}, {}, "tensors: expected names"),
        ({"": np.ones(1)}, {}, "tensors: expected names"),
        ({"\ud800": np.ones(1)}, {}, "tensors: expected names"),
        ({"x": np.array([object()])}, {}, r"tensors\['x'\]: expected one of .* got object"),
        ({"x": np.array(["text"])}, {}, r"tensors\['x'\]: expected one of .* got <U4"),
        ({"x": np.ones(2, complex)}, {}, "got complex128"),
        ({}, {"format": "x"}, "metadata: expected other keys"),
        ({}, {"header_checksum": "x"}, "metadata: expected other keys"),
        ({}, {"x": 1}, "metadata: expected text"),
        ({}, {"x": "\udfff"}, "metadata: expected text"),
    ],
)
def test_what_the_format_cannot_hold_is_refused_and_changes_nothing(
    tmp_path: Path, tensors: dict[str, np.ndarray], metadata: dict[str, str], message: str
) -> None:
    path = tmp_path / "a"
    storage.write(path, {"old": np.ones(1)}, {})
    with pytest.raises(ArgumentError, match=message):
        storage.write(path, tensors, metadata)
    assert list(storage.read(path)[0]) == ["old"]
    assert os.listdir(tmp_path) == ["a"]
