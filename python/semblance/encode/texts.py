"""What comes in as text: checked once, at the face, and cut into windows: a generator of millions stays small."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from typing import Any

from ..errors import ArgumentError

Report = Callable[[int], None]  # told how many more texts are done

WINDOW = 4096  # texts that are tokenised, sorted and batched together


def checked(texts: Any, name: str = "texts") -> list[str]:
    """The texts as a list; anything but an iterable of str raises."""
    return [text for window in windows(texts, name) for text in window]


def windows(texts: Any, name: str = "texts", size: int = WINDOW) -> Iterator[list[str]]:
    """Lists of up to ``size`` checked texts, in order. A list or tuple is checked whole before any is given out."""
    if isinstance(texts, (str, bytes)):
        raise ArgumentError(f"{name}: expected a list of str, got a single {type(texts).__name__} (wrap it in a list)")
    if not isinstance(texts, Iterable):
        raise ArgumentError(f"{name}: expected an iterable of str, got {type(texts).__name__}")
    if isinstance(texts, (list, tuple)):
        _check_items(texts, name, 0)
        return (list(texts[start : start + size]) for start in range(0, len(texts), size))
    return _streamed(texts, name, size)


def _streamed(texts: Iterable[Any], name: str, size: int) -> Iterator[list[str]]:
    try:
        source, done = iter(texts), 0
    except TypeError as error:  # an array without axes
        raise ArgumentError(f"{name}: expected an iterable of str, got {error}") from error
    while window := list(islice(source, size)):
        _check_items(window, name, done)
        done += len(window)
        yield [str(text) for text in window]


def _check_items(items: Iterable[Any], name: str, start: int) -> None:
    for position, item in enumerate(items, start):
        if not isinstance(item, str):
            raise ArgumentError(f"{name}: expected str items, got {type(item).__name__} at position {position}")


def printable(text: str) -> str:
    """The text with lone surrogates, which no UTF-8 can hold, replaced by U+FFFD."""
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
