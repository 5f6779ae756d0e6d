"""What has to be known of an ONNX file before a runtime opens it: where its external tensors lie.

An ONNX file may point at further files. They must lie in the model's own folder, so the pointers are read first, with
a small reader of the protobuf wire format (https://protobuf.dev/programming-guides/encoding) that follows only the
fields on the way from the model to its tensors (numbers from onnx.proto) and skips weights without reading them.
"""

from __future__ import annotations

import mmap
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from ..errors import FormatError

MAX_DEPTH = 32  # nested subgraphs
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5

# message → {field number: message inside it}
_PATHS: dict[str, dict[int, str]] = {
    "model": {7: "graph", 20: "training", 25: "function"},
    "training": {1: "graph", 2: "graph"},
    "graph": {1: "node", 5: "tensor", 15: "sparse"},
    "function": {7: "node", 11: "attribute"},
    "node": {5: "attribute"},
    "attribute": {5: "tensor", 6: "graph", 10: "tensor", 11: "graph", 22: "sparse", 23: "sparse"},
    "sparse": {1: "tensor", 2: "tensor"},
    "tensor": {13: "entry"},
}

Buffer = mmap.mmap | bytes


def fields(data: Buffer, begin: int, end: int) -> Iterator[tuple[int, int, int, int]]:
    """(field number, wire type, first byte, end byte) of each field of a message at bytes [begin, end).

    Raises FormatError where the bytes are no protobuf message or reach past their end.
    """
    at = begin
    while at < end:
        key, at = varint(data, at, end)
        number, wire = key >> 3, key & 7
        start = at
        if wire == _VARINT:
            _, at = varint(data, at, end)
        elif wire == _BYTES:
            size, start = varint(data, at, end)
            at = start + size
        elif wire in (_FIXED64, _FIXED32):
            at += 8 if wire == _FIXED64 else 4
        else:
            raise FormatError(f"model: expected an ONNX file, got wire type {wire} at byte {begin}")
        if number == 0 or at > end:
            raise FormatError(f"model: expected an ONNX file, got a field past the end at byte {start} (truncated?)")
        yield number, wire, start, at


def varint(data: Buffer, at: int, end: int) -> tuple[int, int]:
    """The number at byte ``at`` and the byte after it."""
    value = shift = 0
    while at < end and shift < 70:
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
        shift += 7
    raise FormatError(f"model: expected an ONNX file, got a broken number at byte {at}")


def external_locations(path: Path) -> set[str]:
    """The ``location`` of every external tensor of the file, as written in it.

    Raises
    ------
    FormatError
        An empty, truncated or foreign file.
    """
    if path.stat().st_size == 0:
        raise FormatError(f"{path.name}: expected an ONNX file, got 0 bytes")
    found: set[str] = set()
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        if not any(number == 7 and wire == _BYTES for number, wire, _, _ in fields(data, 0, len(data))):
            raise FormatError(f"{path.name}: expected an ONNX file, got no graph in it")
        _collect(data, (0, len(data)), "model", found, 0)
    return found


def _collect(data: Buffer, span: tuple[int, int], message: str, found: set[str], depth: int) -> None:
    if depth > MAX_DEPTH:
        raise FormatError(f"model: expected at most {MAX_DEPTH} nested graphs, got more")
    inner = _PATHS[message]
    for number, wire, start, stop in fields(data, *span):
        kind = inner.get(number)
        if kind is None or wire != _BYTES:
            continue
        if kind == "entry":
            _note_location(data, (start, stop), found)
        else:
            _collect(data, (start, stop), kind, found, depth + (kind == "graph"))


def _note_location(data: Buffer, span: tuple[int, int], found: set[str]) -> None:
    """A StringStringEntryProto: key = 1, value = 2."""
    texts = {number: bytes(data[start:stop]) for number, wire, start, stop in fields(data, *span) if wire == _BYTES}
    if texts.get(1) == b"location":
        try:
            found.add(texts.get(2, b"").decode("utf-8"))
        except UnicodeDecodeError as error:
            raise FormatError(f"model: expected a UTF-8 location of external data, got {error}") from error


def check_external(model: Path, root: Path) -> list[Path]:
    """The external data files of a model, each of them inside ``root``.

    Raises
    ------
    FormatError
        A location that is absolute, climbs out of the folder (also through a link), does not exist, or is a hard link.
    """
    files = []
    for location in sorted(external_locations(model)):
        parts = PurePosixPath(location.replace("\\", "/"))
        inside = bool(location) and not parts.is_absolute() and ".." not in parts.parts and ":" not in location
        file = model.parent / location
        if not inside or "\0" in location or not file.resolve().is_relative_to(root.resolve()):
            raise FormatError(f"{model.name}: expected external data inside the model's folder, got {location!r}")
        if not file.is_file():
            raise FormatError(f"{model.name}: expected its external data {location!r} beside it, got no such file")
        if file.stat().st_nlink > 1:  # any file of the disk can stand under a second name in the folder
            raise FormatError(
                f"{model.name}: expected external data of its own, got a hard link {location!r} (copy it)"
            )
        files.append(file)
    return files
