"""Builds files by the letter of docs/file-format.md, independently of the writer, so that tests can break one rule."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import xxhash


def metadata_of(checksums: Mapping[str, str], **changes: Any) -> dict[str, Any]:
    metadata = {
        "format": "semblance",
        "format_version": "1",
        "tensor_checksums": json.dumps(dict(checksums)),
        "header_checksum": "0" * 32,
    }
    return {key: value for key, value in {**metadata, **changes}.items() if value is not None}


def write_header_text(path: Path, text: str, data: bytes) -> Path:
    """Write a file with this header text, padded, its checksum field (when there is one) filled in."""
    raw = text.encode()
    raw += b" " * (-(8 + len(raw)) % 64)
    blank = len(raw).to_bytes(8, "little") + raw
    field = b'"header_checksum":"'
    at = blank.find(field) + len(field)
    if at >= len(field):
        blank = blank[:at] + xxhash.xxh3_128_hexdigest(blank).encode() + blank[at + 32 :]
    path.write_bytes(blank + data)
    return path


def write_file(path: Path, entries: Mapping[str, Any], data: bytes, **changes: Any) -> Path:
    """Write entries ``name -> {dtype, shape, data_offsets}`` over data, every checksum right."""
    checksums = {}
    for name, entry in entries.items():
        offsets = entry.get("data_offsets") if isinstance(entry, dict) else None
        if not name.startswith("__pad_"):
            checksums[name] = xxhash.xxh3_64_hexdigest(data[slice(*offsets)] if offsets else b"")
    header = {"__metadata__": metadata_of(checksums, **changes), **entries}
    return write_header_text(path, json.dumps(header, separators=(",", ":")), data)
