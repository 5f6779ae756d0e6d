"""The file of semblance: safetensors with 64-byte alignment, checksums and a version (docs/file-format.md)."""

from __future__ import annotations

import contextlib
import errno
import json
import mmap as _mmap
import os
import secrets
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from math import prod
from typing import Any, BinaryIO

import numpy as np
import xxhash

from .arrays import flag
from .errors import ArgumentError, CapacityError, FormatError, NotFoundError

try:
    import fcntl
except ImportError:  # not a POSIX system: no stale-file locks, plain fsync
    fcntl = None  # type: ignore[assignment]

__all__ = ["ALIGNMENT", "FORMAT", "FORMAT_VERSION", "MissingFileError", "read", "write"]

FORMAT = "semblance"
FORMAT_VERSION = 1
ALIGNMENT = 64  # bytes: a cache line and the widest vector register
MAX_HEADER_BYTES = 100_000_000  # the limit of the safetensors library itself
MAX_DIMENSIONS = 32  # what every NumPy from 1.23 can hold
STALE_SECONDS = 60.0  # a temporary file younger than this is never taken for an abandoned one

_PADDING = "__pad_"
_METADATA = "__metadata__"
_CHECKSUM_FIELD = b'"header_checksum":"'
_CHECKSUM_DIGITS = 32
_RESERVED = ("format", "format_version", "tensor_checksums", "header_checksum")
_CHUNK = 1 << 22  # bytes between two looks at Ctrl-C

_DTYPES = {
    "BOOL": "|b1", "U8": "|u1", "I8": "|i1", "U16": "<u2", "I16": "<i2", "U32": "<u4", "I32": "<i4",
    "U64": "<u8", "I64": "<i8", "F16": "<f2", "F32": "<f4", "F64": "<f8",
}  # fmt: skip
_NAMES = {np.dtype(code): name for name, code in _DTYPES.items()}


class MissingFileError(FormatError, NotFoundError, FileNotFoundError):
    """There is no file at the path; caught by ``FormatError``, ``NotFoundError`` and ``FileNotFoundError`` alike."""

    __str__ = Exception.__str__


@dataclass(frozen=True)
class _Section:
    """One tensor of the file: ``begin`` and ``end`` are bytes from the start of the data."""

    name: str
    dtype: np.dtype[Any]
    shape: tuple[int, ...]
    begin: int
    end: int


def write(path: str | os.PathLike[str], tensors: Mapping[str, np.ndarray], metadata: Mapping[str, str]) -> None:
    """Write arrays and text parameters to one file, wholly or not at all.

    The bytes go to a temporary name in the same folder, are fsynced and renamed over ``path``, and the folder is
    fsynced: after the call returns the new file survives power loss, and at any earlier moment the old one is whole.
    Reading back gives equal arrays (little-endian, C order) and equal metadata.

    Parameters
    ----------
    path : str or PathLike
        Where the file goes; its folder must exist. A symbolic link is written through.
    tensors : mapping of str to ndarray
        Any shapes of up to 32 dimensions, also empty and 0-d; dtypes bool, u8, i8, u16, i16, u32, i32, u64, i64, f16,
        f32, f64. Names that start with ``__`` are reserved.
    metadata : mapping of str to str
        All parameters; ``format``, ``format_version``, ``tensor_checksums`` and ``header_checksum`` are reserved.

    Raises
    ------
    ArgumentError
        A name, dtype or value that the format cannot hold; a folder that is missing or cannot be written.
    CapacityError
        The disk, quota or file size limit is exhausted. The old file stays, the temporary one is removed.

    Notes
    -----
    Cost: one pass of xxh3_64 and one write of every byte; an array that is not C-contiguous is copied.
    Source: the safetensors format, https://github.com/huggingface/safetensors.

    Examples
    --------
    >>> import tempfile, os
    >>> path = os.path.join(tempfile.mkdtemp(), "rows.safetensors")
    >>> write(path, {"rows": np.eye(3, dtype=np.float32)}, {"kind": "example"})
    >>> arrays, parameters = read(path)
    >>> arrays["rows"].shape, parameters
    ((3, 3), {'kind': 'example'})
    """
    arrays = {name: _checked_array(name, array) for name, array in tensors.items()}
    _check_metadata(metadata)
    layout = _layout(arrays)
    header = _header_bytes(layout, _all_metadata(arrays, metadata))
    target = os.path.realpath(os.fspath(path))
    if not os.path.isdir(os.path.dirname(target)):
        raise ArgumentError(f"path: expected an existing folder, got {os.path.dirname(target)!r}")
    if os.path.isdir(target):
        raise ArgumentError(f"path: expected a file name, got the folder {target!r}")
    try:
        _remove_stale(target)
        _write_and_rename(target, header, layout, arrays)
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            raise CapacityError(f"path: expected room for the file, got {error.strerror} at {target!r}") from error
        raise ArgumentError(f"path: expected a writable place, got {error.strerror or error} at {target!r}") from error


def read(
    path: str | os.PathLike[str], *, mmap: bool = False, verify: bool = True
) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """Read what `write` wrote: the arrays by name, and the metadata.

    Parameters
    ----------
    path : str or PathLike
        A file of `write`.
    mmap : bool
        True gives read-only arrays over one memory map of the file, without copying a row; the file must not be
        changed in place while they live (`write` never does: it renames). False gives arrays that own their memory.
    verify : bool
        Compare every tensor's checksum, which reads all bytes (also under ``mmap``). The header's checksum and the
        structure (sizes, offsets, shapes against the file's real size) are checked in any case.

    Returns
    -------
    tensors : dict of str to ndarray
        Same names, dtypes, shapes and values as written.
    metadata : dict of str to str
        As written, without the reserved keys.

    Raises
    ------
    FormatError
        An empty, truncated, damaged or foreign file, or one of a newer format version; the message names the section.
    MissingFileError
        No file at the path: a `FormatError` that is also a `NotFoundError` and a `FileNotFoundError`.

    Notes
    -----
    Cost: one read and one xxh3_64 pass (several GB/s) of every byte; with ``mmap=True, verify=False`` only the header.
    Nothing is allocated on a header's word beyond the real size of the file.
    """
    name, mmap, verify = os.fspath(path), flag(mmap, "mmap"), flag(verify, "verify")
    with _open(name) as file:
        size = os.fstat(file.fileno()).st_size
        header_end, header = _read_header(name, file, size)
        metadata = _checked_metadata(name, header)
        sections = _checked_sections(name, header, size - header_end)
        checksums = _tensor_checksums(name, metadata, sections)
        raw = _map(name, file, size) if mmap else None
        tensors = {}
        for section in sections:
            begin, end = header_end + section.begin, header_end + section.end
            data = raw[begin:end] if raw is not None else _read_exactly(name, file, begin, section)
            if verify:
                _verify(name, section, data, checksums)
            if not section.name.startswith(_PADDING):
                tensors[section.name] = _as_array(name, section, data)
    return tensors, {key: text for key, text in metadata.items() if key not in _RESERVED}


# ---- writing ---------------------------------------------------------------------------------------------------------


def _checked_array(name: str, array: np.ndarray) -> np.ndarray:
    if not isinstance(name, str) or not name or name.startswith("__") or not _is_utf8(name):
        raise ArgumentError(f"tensors: expected names that are non-empty text not starting with '__', got {name!r}")
    array = np.asarray(array, order="C")
    little = array.dtype.newbyteorder("<")
    if little not in _NAMES:
        raise ArgumentError(f"tensors[{name!r}]: expected one of {', '.join(map(str, _NAMES))}, got {array.dtype}")
    if array.ndim > MAX_DIMENSIONS:
        raise ArgumentError(f"tensors[{name!r}]: expected at most {MAX_DIMENSIONS} dimensions, got {array.ndim}")
    return array.astype(little, copy=False)


def _check_metadata(metadata: Mapping[str, str]) -> None:
    for key, text in metadata.items():
        if not isinstance(key, str) or not isinstance(text, str) or not _is_utf8(key) or not _is_utf8(text):
            raise ArgumentError(f"metadata: expected text under text keys, got {text!r} under {key!r}")
        if key in _RESERVED:
            raise ArgumentError(f"metadata: expected other keys than {', '.join(_RESERVED)}, got {key!r}")


def _is_utf8(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:  # a lone surrogate, which JSON parsers of other languages refuse
        return False
    return True


def _layout(arrays: Mapping[str, np.ndarray]) -> list[_Section]:
    """Place the arrays in order; a named u8 tensor of zeros fills each gap up to the next aligned offset."""
    sections: list[_Section] = []
    at = 0
    for name, array in arrays.items():
        if at % ALIGNMENT and array.nbytes:
            gap = -at % ALIGNMENT
            sections.append(_Section(f"{_PADDING}{len(sections)}", np.dtype(np.uint8), (gap,), at, at + gap))
            at += gap
        sections.append(_Section(name, array.dtype, array.shape, at, at + array.nbytes))
        at += array.nbytes
    return sections


def _all_metadata(arrays: Mapping[str, np.ndarray], metadata: Mapping[str, str]) -> dict[str, str]:
    checksums = {name: _checksum(array) for name, array in arrays.items()}
    return {
        "format": FORMAT,
        "format_version": str(FORMAT_VERSION),
        **metadata,
        "tensor_checksums": json.dumps(checksums, ensure_ascii=False, separators=(",", ":")),
        "header_checksum": "0" * _CHECKSUM_DIGITS,
    }


def _header_bytes(sections: list[_Section], metadata: Mapping[str, str]) -> bytes:
    """Return the length prefix and the JSON, padded with spaces to the alignment, its own checksum filled in."""
    header: dict[str, Any] = {_METADATA: metadata}
    for section in sections:
        offsets = [section.begin, section.end]
        header[section.name] = {"dtype": _NAMES[section.dtype], "shape": section.shape, "data_offsets": offsets}
    text = json.dumps(header, ensure_ascii=False, separators=(",", ":")).encode()
    text += b" " * (-(8 + len(text)) % ALIGNMENT)
    if len(text) > MAX_HEADER_BYTES:
        raise ArgumentError(f"metadata: expected a header of at most {MAX_HEADER_BYTES} bytes, got {len(text)}")
    blank = len(text).to_bytes(8, "little") + text
    at = blank.index(_CHECKSUM_FIELD) + len(_CHECKSUM_FIELD)
    return blank[:at] + xxhash.xxh3_128_hexdigest(blank).encode() + blank[at + _CHECKSUM_DIGITS :]


def _write_and_rename(target: str, header: bytes, layout: list[_Section], arrays: Mapping[str, np.ndarray]) -> None:
    folder, base = os.path.split(target)
    temporary = os.path.join(folder, f".{base}.{secrets.token_hex(8)}.tmp")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0), 0o666)
    try:
        with open(descriptor, "wb", buffering=0) as file:
            if fcntl is not None:
                with contextlib.suppress(OSError):  # a file system without locks
                    fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)  # marks the file as not abandoned
            for block in _blocks(header, layout, arrays):
                written = 0
                while written < len(block):
                    written += file.write(block[written:])
            with contextlib.suppress(FileNotFoundError):
                os.chmod(temporary, os.stat(target).st_mode & 0o7777)
            sync(descriptor)
            os.replace(temporary, target)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(temporary)
        raise
    sync_folder(folder)


def _blocks(header: bytes, layout: list[_Section], arrays: Mapping[str, np.ndarray]) -> Iterator[memoryview]:
    yield memoryview(header)
    for section in layout:
        if section.name.startswith(_PADDING):
            yield memoryview(bytes(section.end - section.begin))
        else:
            yield from _chunks(arrays[section.name])


def _chunks(array: np.ndarray) -> Iterator[memoryview]:
    if array.size:
        data = array.reshape(-1).view(np.uint8).data
        for begin in range(0, len(data), _CHUNK):
            yield data[begin : begin + _CHUNK]


def sync(descriptor: int) -> None:
    full = getattr(fcntl, "F_FULLFSYNC", None)  # macOS: fsync alone stops at the drive's cache
    if full is not None:
        with contextlib.suppress(OSError):
            fcntl.fcntl(descriptor, full)
            return
    os.fsync(descriptor)


def sync_folder(folder: str | os.PathLike[str]) -> None:
    if os.name == "posix":
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _remove_stale(target: str) -> None:
    """Remove temporary files that killed writers of the same target left: old, and locked by nobody."""
    if fcntl is None:
        return
    folder, base = os.path.split(target)
    for entry in os.scandir(folder):
        if not (entry.name.startswith(f".{base}.") and entry.name.endswith(".tmp")):
            continue
        with contextlib.suppress(OSError):
            if time.time() - entry.stat().st_mtime < STALE_SECONDS:
                continue
            with open(entry.path, "rb") as file:
                fcntl.flock(file.fileno(), fcntl.LOCK_EX | fcntl.LOCK_NB)
                os.unlink(entry.path)


def _checksum(array: np.ndarray) -> str:
    digest = xxhash.xxh3_64()
    for chunk in _chunks(array):
        digest.update(chunk)
    return digest.hexdigest()


# ---- reading ---------------------------------------------------------------------------------------------------------


def _error(path: str, section: str, want: str, got: object) -> FormatError:
    return FormatError(f"{path}: {section}: expected {want}, got {got}")


def _open(path: str) -> BinaryIO:
    try:
        return open(path, "rb", buffering=0)
    except FileNotFoundError as error:
        raise MissingFileError(f"{path}: file: expected a semblance file, got no file") from error
    except (OSError, ValueError) as error:
        raise _error(path, "file", "a readable file", getattr(error, "strerror", None) or error) from error


def _read_header(path: str, file: BinaryIO, size: int) -> tuple[int, dict[str, Any]]:
    """Return where the data starts, and the parsed header, its checksum compared."""
    prefix = file.read(8)
    if len(prefix) < 8:
        raise _error(path, "header length", "8 bytes", f"{len(prefix)} (the file is empty or cut off)")
    length = int.from_bytes(prefix, "little")
    if not 2 <= length <= min(size - 8, MAX_HEADER_BYTES):
        raise _error(path, "header length", f"at most {min(size - 8, MAX_HEADER_BYTES)} bytes", length)
    section = _Section("header", np.dtype(np.uint8), (length,), 0, length)
    text = _read_exactly(path, file, 8, section).tobytes()
    try:
        header = json.loads(text.decode(), object_pairs_hook=_unique, parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:
        raise _error(path, "header", "JSON with unique keys", f"{error}") from error
    if not isinstance(header, dict):
        raise _error(path, "header", "a JSON object", type(header).__name__)
    _check_version(path, header.get(_METADATA))
    _check_header_checksum(path, prefix + text, header[_METADATA])
    return 8 + length, header


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    unique = dict(pairs)
    if len(unique) != len(pairs):
        raise ValueError("a key twice")
    return unique


def _refuse_constant(name: str) -> Any:
    raise ValueError(name)


def _check_version(path: str, metadata: Any) -> None:
    name = metadata.get("format") if isinstance(metadata, dict) else None
    if name != FORMAT:
        raise _error(path, "metadata: format", repr(FORMAT), repr(name))
    version = metadata.get("format_version")
    if not isinstance(version, str) or not version.isascii() or not version.isdigit() or len(version) > 9:
        raise _error(path, "metadata: format_version", "a number", repr(version))
    if not 1 <= int(version) <= FORMAT_VERSION:
        hint = "written by a newer semblance: upgrade to read it"
        raise _error(path, "metadata: format_version", f"at most {FORMAT_VERSION}", f"{version} ({hint})")


def _check_header_checksum(path: str, raw: bytes, metadata: dict[str, Any]) -> None:
    at = raw.find(_CHECKSUM_FIELD) + len(_CHECKSUM_FIELD)
    stored = raw[at : at + _CHECKSUM_DIGITS]
    blank = raw[:at] + b"0" * len(stored) + raw[at + len(stored) :]
    computed = xxhash.xxh3_128_hexdigest(blank)
    if at < len(_CHECKSUM_FIELD) or metadata.get("header_checksum") != computed or stored != computed.encode():
        raise _error(path, "header", f"checksum {computed}", f"{metadata.get('header_checksum')!r} (damaged)")


def _checked_metadata(path: str, header: dict[str, Any]) -> dict[str, str]:
    metadata: dict[str, Any] = header.pop(_METADATA)
    for key, text in metadata.items():
        if not isinstance(text, str):
            raise _error(path, f"metadata: {key}", "text", type(text).__name__)
    return metadata


def _checked_sections(path: str, header: dict[str, Any], data_bytes: int) -> list[_Section]:
    """Return the sections in file order: aligned, without hole or overlap, and exactly as long as the data."""
    sections = [_checked_section(path, name, entry) for name, entry in header.items()]
    sections.sort(key=lambda section: (section.begin, section.end))
    at = 0
    for section in sections:
        where = f"tensor {section.name!r}"
        if section.begin != at:
            raise _error(path, where, f"data from byte {at} (no hole, no overlap)", f"byte {section.begin}")
        if section.end > section.begin and section.begin % ALIGNMENT and not section.name.startswith(_PADDING):
            raise _error(path, where, f"data at a multiple of {ALIGNMENT} bytes", f"byte {section.begin}")
        at = section.end
    if at != data_bytes:
        raise _error(path, "data", f"{at} bytes", f"{data_bytes} (the file is cut off or has something appended)")
    return sections


def _checked_section(path: str, name: str, entry: Any) -> _Section:
    where = f"tensor {name!r}"
    if not isinstance(entry, dict) or set(entry) != {"dtype", "shape", "data_offsets"}:
        raise _error(path, where, "dtype, shape and data_offsets", repr(entry)[:80])
    if not isinstance(entry["dtype"], str) or entry["dtype"] not in _DTYPES:
        raise _error(path, where, f"dtype of {', '.join(_DTYPES)}", repr(entry["dtype"])[:80])
    shape, offsets = entry["shape"], entry["data_offsets"]
    if not _is_sizes(shape) or len(shape) > MAX_DIMENSIONS:
        raise _error(path, where, f"a shape of at most {MAX_DIMENSIONS} sizes", repr(shape)[:80])
    if not _is_sizes(offsets) or len(offsets) != 2 or offsets[0] > offsets[1]:
        raise _error(path, where, "data_offsets [begin, end]", repr(offsets)[:80])
    dtype = np.dtype(_DTYPES[entry["dtype"]])
    if prod(shape) * dtype.itemsize != offsets[1] - offsets[0]:
        raise _error(path, where, f"{prod(shape) * dtype.itemsize} bytes", offsets[1] - offsets[0])
    return _Section(name, dtype, tuple(shape), *offsets)


def _is_sizes(values: Any) -> bool:
    return isinstance(values, list) and all(type(value) is int and 0 <= value < 1 << 62 for value in values)


def _tensor_checksums(path: str, metadata: dict[str, str], sections: list[_Section]) -> dict[str, Any]:
    names = {section.name for section in sections if not section.name.startswith(_PADDING)}
    try:
        checksums = json.loads(metadata.get("tensor_checksums", ""), object_pairs_hook=_unique)
    except (ValueError, RecursionError) as error:
        raise _error(path, "metadata: tensor_checksums", "a JSON object", f"{error}") from error
    if not isinstance(checksums, dict) or set(checksums) != names:
        raise _error(path, "metadata: tensor_checksums", f"one for each of {sorted(names)}", repr(checksums)[:80])
    return checksums


def _map(path: str, file: BinaryIO, size: int) -> np.ndarray:
    try:
        return np.frombuffer(_mmap.mmap(file.fileno(), size, access=_mmap.ACCESS_READ), np.uint8)
    except (OSError, ValueError) as error:
        if getattr(error, "errno", None) == errno.ENOMEM:
            raise CapacityError(f"{path}: expected {size:,} bytes of address space for the file, got fewer") from error
        raise _error(path, "file", "a file that can be memory-mapped", error) from error


def _read_exactly(path: str, file: BinaryIO, begin: int, section: _Section) -> np.ndarray:
    size = section.end - section.begin
    room = np.empty(size + ALIGNMENT - 1, np.uint8)  # as aligned in memory as it is in the file
    start = -room.ctypes.data % ALIGNMENT
    data = room[start : start + size]
    view, done = data.data, 0
    file.seek(begin)
    while done < len(view):
        count = file.readinto(view[done : done + _CHUNK])  # type: ignore[attr-defined]
        if not count:
            raise _error(path, section.name, f"{len(view)} bytes", f"{done} (the file is cut off)")
        done += count
    return data


def _verify(path: str, section: _Section, data: np.ndarray, checksums: dict[str, Any]) -> None:
    where = f"tensor {section.name!r}"
    if section.name.startswith(_PADDING):
        if data.any():
            raise _error(path, where, "zeros", "something else (damaged)")
        return
    if (computed := _checksum(data)) != checksums[section.name]:
        raise _error(path, where, f"checksum {computed}", f"{checksums[section.name]!r} (damaged)")
    if section.dtype == np.bool_ and data.size and data.max() > 1:
        raise _error(path, where, "bytes 0 and 1", int(data.max()))


def _as_array(path: str, section: _Section, data: np.ndarray) -> np.ndarray:
    try:
        return data.view(section.dtype).reshape(section.shape)
    except (ValueError, OverflowError) as error:  # sizes that NumPy cannot hold, such as (0, 2**61)
        raise _error(path, f"tensor {section.name!r}", "a shape that fits in memory", list(section.shape)) from error
