"""Ways to damage a file, by chance and by intent; every one is decided by its random generator alone."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import numpy as np
import xxhash

from semblance import storage

BLOCK = 4096
HUGE = 1 << 60
Damage = Callable[[bytes, np.random.Generator], bytes]


def header_end(content: bytes) -> int:
    """Where the data of a semblance file starts; a third of any other file."""
    end = 8 + int.from_bytes(content[:8], "little")
    return end if end <= len(content) else len(content) // 3


def edges(content: bytes) -> list[int]:
    """Offsets at which a section of the file begins or ends."""
    found = {0, 8, header_end(content), len(content)}
    try:
        header = json.loads(content[8 : header_end(content)])
        for name, entry in header.items():
            if name != "__metadata__":
                found.update(header_end(content) + at for at in entry["data_offsets"])
    except ValueError:
        found.update(range(0, len(content), BLOCK))  # the pages of a database
    return sorted(found)


# -- by chance


def flip(content: bytes, rng: np.random.Generator) -> bytes:
    """Change 1 to 8 bytes, half of the time in the header."""
    damaged = bytearray(content)
    end = header_end(content) if rng.random() < 0.5 else len(content)
    for at in rng.integers(0, end, int(rng.integers(1, 9))):
        damaged[at] ^= int(rng.integers(1, 256))
    return bytes(damaged)


def block(content: bytes, rng: np.random.Generator) -> bytes:
    """Replace a 4 KiB block by zeros, noise or another block, as a failing disk does."""
    damaged = bytearray(content)
    at = int(rng.integers(0, len(content))) // BLOCK * BLOCK
    size = min(BLOCK, len(content) - at)
    other = int(rng.integers(0, max(len(content) - size, 1)))
    new = [bytes(size), rng.bytes(size), content[other : other + size]][int(rng.integers(3))]
    damaged[at : at + size] = new
    return bytes(damaged)


def truncate(content: bytes, rng: np.random.Generator) -> bytes:
    """Cut at the edge of a section, or a byte beside it, or anywhere."""
    at = int(rng.choice(edges(content))) + int(rng.integers(-1, 2)) if rng.random() < 0.7 else None
    if at is None:
        at = int(rng.integers(0, len(content)))
    return content[: min(max(at, 0), len(content) - 1)]


def extend(content: bytes, rng: np.random.Generator) -> bytes:
    """Append zeros, noise, or the file itself."""
    size = int(rng.integers(1, 300))
    return content + [bytes(size), rng.bytes(size), content][int(rng.integers(3))]


def exchange(content: bytes, rng: np.random.Generator) -> bytes:
    """Let two sections of data change places; the offsets of the others may shift."""
    cuts = [at for at in edges(content) if at >= header_end(content)]
    pieces = [content[a:b] for a, b in pairwise(cuts)]
    if len(pieces) < 2:
        return flip(content, rng)
    a, b = rng.choice(len(pieces), 2, replace=False)
    pieces[a], pieces[b] = pieces[b], pieces[a]
    return content[: cuts[0]] + b"".join(pieces)


def foreign(content: bytes, rng: np.random.Generator) -> bytes:
    """A file of another kind altogether."""
    others = [
        b"", b"\0", b"PK\3\4" + rng.bytes(500), b"SQLite format 3\0" + rng.bytes(4000), b"\x93NUMPY" + rng.bytes(300),
        (2).to_bytes(8, "little") + b"{}", (HUGE).to_bytes(8, "little") + b"{}", b"[" * 100_000,
        (100_000).to_bytes(8, "little") + b"[" * 100_000,
        b"not an index\n" * 200, rng.bytes(int(rng.integers(1, 9000))),
        b"\x80\x04\x95cos\nsystem\n",
        (90).to_bytes(8, "little") + b'{"x":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}',
    ]  # fmt: skip
    return others[int(rng.integers(len(others)))]


# -- by intent: every checksum is right


def sealed(text: bytes, data: bytes) -> bytes:
    """A file of a header text and data, the header's checksum computed anew."""
    text += b" " * (-(8 + len(text)) % 64)
    blank = len(text).to_bytes(8, "little") + text
    field = b'"header_checksum":"'
    at = blank.find(field) + len(field)
    if at < len(field):
        return blank + data
    blank = blank[:at] + b"0" * 32 + blank[at + 32 :]
    return blank[:at] + xxhash.xxh3_128_hexdigest(blank).encode() + blank[at + 32 :] + data


NUMBERS = [0, 1, 2, 63, 64, 255, (1 << 31) - 1, 1 << 31, (1 << 32) - 1, 1 << 32, HUGE, (1 << 62) - 1, 1 << 64, -1]


def lying_header(content: bytes, rng: np.random.Generator) -> bytes:
    """Sizes, offsets, dtypes or names that the data does not have, up to 2^60 elements."""
    end = header_end(content)
    header = json.loads(content[8:end])
    names = [name for name in header if name != "__metadata__"]
    entry = header[names[int(rng.integers(len(names)))]]
    what = int(rng.integers(5))
    number = int(NUMBERS[int(rng.integers(len(NUMBERS)))])
    if what == 0 and entry["shape"]:
        entry["shape"][int(rng.integers(len(entry["shape"])))] = number
    elif what == 1:
        entry["data_offsets"][int(rng.integers(2))] = number
    elif what == 2:
        entry["dtype"] = str(rng.choice(["U8", "I8", "U64", "F64", "F16", "BOOL", "X9"]))
    elif what == 3:
        entry["shape"] = [int(n) for n in rng.choice([0, 1, 7, 1 << 20, HUGE], int(rng.integers(0, 40)))]
    else:
        a, b = rng.choice(names, 2)
        header[a], header[b] = header[b], header[a]
    return sealed(json.dumps(header, separators=(",", ":")).encode(), content[end:])


def lying_parameters(content: bytes, rng: np.random.Generator) -> bytes:
    """A parameter that is another, wild, or gone."""
    end = header_end(content)
    header = json.loads(content[8:end])
    metadata = header["__metadata__"]
    keys = [key for key in metadata if key not in ("tensor_checksums", "header_checksum", "format")]
    key = keys[int(rng.integers(len(keys)))]
    words = [
        "",
        "x",
        "f32",
        "i8",
        "l2",
        "hamming",
        "flat",
        "rows",
        "int",
        "str",
        "zero",
        "error",
        "row:9",
        "9" * 30,
        "1.5",
    ]
    choices = words + [str(n) for n in NUMBERS] + [str(metadata[other]) for other in keys]
    if rng.random() < 0.15:
        del metadata[key]
    else:
        metadata[key] = choices[int(rng.integers(len(choices)))]
    return sealed(json.dumps(header, separators=(",", ":")).encode(), content[end:])


def forged(content: bytes, rng: np.random.Generator) -> bytes:
    """Wild values, another shape or type, or a missing tensor, written with right checksums."""
    path = Path(os.environ["SEMBLANCE_FAULTS_SCRATCH"]) / "forged"
    path.write_bytes(content)
    tensors, metadata = storage.read(path)
    names = sorted(tensors)
    name = names[int(rng.integers(len(names)))]
    tensors[name] = _forged_tensor(tensors[name], rng)
    what = rng.random()
    if what < 0.05:
        del tensors[name]
    elif what < 0.1:
        other = names[int(rng.integers(len(names)))]
        tensors[name], tensors[other] = tensors[other], tensors[name]
    storage.write(path, tensors, metadata)
    return path.read_bytes()


def _forged_tensor(array: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    made = np.array(array, order="C")
    what = rng.random()
    if what < 0.6 and made.size and made.dtype.kind in "uif":
        flat = made.reshape(-1)
        at = rng.integers(0, flat.size, int(rng.integers(1, 9)))
        if made.dtype.kind == "f":
            flat[at] = rng.choice(np.array([np.nan, np.inf, -np.inf, 0, 65504], made.dtype), len(at))
        else:
            limits = np.iinfo(made.dtype)
            wild = [0, 1, 149, 150, 151, limits.max, limits.max - 1, limits.max // 2, limits.min]
            flat[at] = rng.choice(np.array(wild, made.dtype), len(at))
    elif what < 0.75 and made.size:
        raw = made.reshape(-1).view(np.uint8)
        first = int(rng.integers(raw.size))
        raw[first : first + int(rng.integers(1, 5000))] = int(rng.choice([0, 255, 127, 1]))
    elif what < 0.85 and made.ndim and len(made):
        made = made[: int(rng.integers(len(made)))] if rng.random() < 0.5 else np.concatenate([made, made])
    elif what < 0.93:
        made = made.reshape(-1) if rng.random() < 0.5 else made[None]
    else:
        made = made.astype(str(rng.choice(["uint8", "int32", "int64", "float32", "uint64"])), casting="unsafe")
    return np.array(made, order="C")


BY_CHANCE: dict[str, Damage] = {
    "bytes": flip, "block": block, "cut": truncate, "longer": extend, "exchanged": exchange, "foreign": foreign,
}  # fmt: skip
BY_INTENT: dict[str, Damage] = {"header": lying_header, "parameter": lying_parameters, "forged": forged}


# -- done to one file of a folder


def missing(path: Path, rng: np.random.Generator) -> None:
    """The file is gone."""
    path.unlink()


def swapped(path: Path, rng: np.random.Generator) -> None:
    """Two files have each other's content."""
    others = sorted(file for file in path.parent.iterdir() if file.is_file() and file != path)
    other = others[int(rng.integers(len(others)))] if others else path
    mine, theirs = path.read_bytes(), other.read_bytes()
    path.write_bytes(theirs)
    other.write_bytes(mine)


def retokenized(path: Path, rng: np.random.Generator) -> None:
    """A tokenizer of another model: the same words under other ids."""
    folder = path.parent if (path.parent / "tokenizer.json").exists() else path.parent.parent
    definition = json.loads((folder / "tokenizer.json").read_text(encoding="utf-8"))
    words = definition["model"]["vocab"]
    turned = dict(zip(words, [*list(words.values())[1:], 0], strict=True))
    definition["model"]["vocab"] = turned
    (folder / "tokenizer.json").write_text(json.dumps(definition), encoding="utf-8")


def linked_away(path: Path, rng: np.random.Generator) -> None:
    """A symbolic link to the content outside the folder."""
    outside = Path(os.environ["SEMBLANCE_FAULTS_SCRATCH"]) / "outside"
    outside.write_bytes(path.read_bytes())
    path.unlink()
    path.symlink_to(outside)


OF_FOLDERS: dict[str, Callable[[Path, np.random.Generator], None]] = {
    "missing": missing, "swapped": swapped, "retokenized": retokenized, "linked away": linked_away,
}  # fmt: skip
