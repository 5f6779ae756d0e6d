"""Coverage-guided fuzzing of everything that opens a file or a text (``pip install atheris``):

    python tests/faults/fuzz_files.py CORPUS [-max_total_time=600] [other options of libFuzzer]

The corpus folder is filled with healthy files first. An input's first byte says what opens it and whether the header's
checksum is made right, so that the fuzzer gets past it. Whatever is raised but `semblance.Error` ends the run.
"""

from __future__ import annotations

import contextlib
import inspect
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from damages import header_end, sealed
from victims import TEXTS, VICTIMS, tokenizer_json

import semblance as sb
from semblance import storage
from semblance.encode.tokenize import Tokenizer

FILES = ("index cosine i8", "index l2 flat", "index hamming", "table of numbers", "table of words", "encoder")
_scratch = tempfile.TemporaryDirectory()
PATH = Path(_scratch.name) / "input"


def open_file(kind: str) -> Callable[[bytes], None]:
    """Open, ask and change a file of a kind, structure alone checked."""

    def opened(data: bytes) -> None:
        PATH.write_bytes(data)
        what, _ = VICTIMS[kind].answer(PATH, False, len(data) % 2 == 0)
        VICTIMS[kind].change(what, PATH)

    return opened


def read_any(data: bytes) -> None:
    PATH.write_bytes(data)
    storage.read(PATH, mmap=len(data) % 2 == 0)


def read_tokenizer(data: bytes) -> None:
    Tokenizer(data.decode("utf-8", "replace")).ids(TEXTS, 8)


def tokenize(data: bytes) -> None:
    """Bytes as UTF-8 with lone surrogates, or each number of 32 bits as a code point."""
    text = data.decode("utf-8", "surrogateescape")
    if len(data) % 4 == 0:
        text = "".join(chr(int.from_bytes(data[at : at + 4], "little") % 0x110000) for at in range(0, len(data), 4))
    assert len(Tokenizer(tokenizer_json()).ids([text], 64)[0]) <= 64


DOORS: list[Callable[[bytes], None]] = [*map(open_file, FILES), read_any, read_tokenizer, tokenize]


def one_input(data: bytes) -> None:
    """What libFuzzer calls."""
    if not data:
        return
    content = data[1:]
    if data[0] & 0x80 and len(content) > 8:
        end = header_end(content)
        content = sealed(content[8:end], content[end:])
    with contextlib.suppress(sb.Error):
        DOORS[(data[0] & 0x7F) % len(DOORS)](content)


def fill(corpus: Path) -> None:
    """A healthy file for every door, sealed and not."""
    corpus.mkdir(exist_ok=True)
    for door, kind in enumerate(FILES):
        VICTIMS[kind].make(PATH)
        for first in (door, door | 0x80):
            (corpus / f"{kind.replace(' ', '_')}_{first}").write_bytes(bytes([first]) + PATH.read_bytes())
    (corpus / "any").write_bytes(bytes([len(FILES)]) + PATH.read_bytes())
    (corpus / "tokenizer").write_bytes(bytes([len(FILES) + 1]) + tokenizer_json().encode())
    (corpus / "text").write_bytes(bytes([len(FILES) + 2]) + "Abba é 中 [SEP]".encode())


def main() -> None:
    """Hand over to libFuzzer."""
    import atheris

    fill(Path(sys.argv[1]))
    for module in [name for name in sys.modules if name.startswith("semblance.") and "_core" not in name]:
        for made in vars(sys.modules[module]).values():
            if inspect.isfunction(made) and made.__module__ == module:
                made.__code__ = atheris.instrument_func(made).__code__
    atheris.Setup(sys.argv, one_input)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
