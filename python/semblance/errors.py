"""The error tree. One sentence form: ``where: expected X, got Y (hint)``."""

from __future__ import annotations


class Error(Exception):
    """Base of everything that semblance raises on purpose."""


class ArgumentError(Error, ValueError):
    """An argument is not of the form that the call documents; nothing was changed."""


class FormatError(Error, ValueError):
    """A file is damaged, foreign, or of a newer format; the message names the section."""


class NotFoundError(Error, KeyError):
    """An id, key or file that was asked for does not exist."""

    def __str__(self) -> str:  # KeyError would show the repr of the message
        return Exception.__str__(self)


class UnsupportedError(Error, RuntimeError):
    """This build, machine or installation lacks what the call needs; the message says how to get it."""


class CapacityError(Error, MemoryError):
    """The call needs more memory or room than there is; nothing was changed."""
