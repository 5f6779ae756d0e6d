"""``SHA256SUMS`` of a model folder, as coreutils' ``sha256sum`` writes it: what damage to weights is seen by."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterable
from pathlib import Path

from ..errors import FormatError

NAME = "SHA256SUMS"
_LINE = re.compile(r"([0-9a-fA-F]{64}) [ *]([^\0\\]+)")


def place(path: Path) -> Path:
    """The path that a file goes by among the digests, links in it not followed."""
    return Path(os.path.abspath(path))


def digest(path: Path) -> str:
    """SHA-256 of a file, in hexadecimal digits."""
    found = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            found.update(block)
    return found.hexdigest()


def compare(path: Path, wanted: str) -> None:
    """FormatError unless the file has the digest."""
    found = digest(path)
    if found != wanted.lower():
        raise FormatError(f"{path.name}: expected sha256 {wanted.lower()}, got {found}")


def read(path: Path) -> dict[Path, str]:
    """The digests by `place`.

    Raises
    ------
    FormatError
        A line that is not ``DIGEST  NAME``.
    """
    found = {}
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except UnicodeDecodeError as error:
        raise FormatError(f"{path.name}: expected UTF-8, got {error}") from error
    for number, line in enumerate(lines, 1):
        match = _LINE.fullmatch(line)
        if match is None:
            raise FormatError(f"{path.name}: expected 'DIGEST  NAME' in line {number}, got {line!r:.80}")
        found[place(path.parent / match[2])] = match[1]
    return found


def write(folder: Path, files: Iterable[Path]) -> None:
    """List the files of a folder."""
    lines = [f"{digest(path)}  {path.relative_to(folder).as_posix()}\n" for path in sorted(files)]
    (folder / NAME).write_text("".join(lines), encoding="utf-8")
