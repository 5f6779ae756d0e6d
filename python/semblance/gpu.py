"""Whether vectors can be searched on a GPU here, and why not."""

from __future__ import annotations

from typing import NoReturn

from .errors import UnsupportedError

__all__ = ["is_available", "reason", "require"]

_REASON = "this build of semblance has no CUDA kernels (extension module semblance._cuda)"


def is_available() -> bool:
    """Return whether indexes and tables can run on a GPU: never in this version, whatever the machine has.

    Examples
    --------
    >>> is_available()
    False
    """
    return False


def reason() -> str:
    """Return what is missing, as one sentence.

    Examples
    --------
    >>> reason()
    'this build of semblance has no CUDA kernels (extension module semblance._cuda)'
    """
    return _REASON


def require(what: str = "a GPU") -> NoReturn:
    """Refuse what needs a GPU, naming what is missing.

    Parameters
    ----------
    what : str
        What was asked for.

    Raises
    ------
    UnsupportedError
        Always.

    Examples
    --------
    >>> require("sb.exact on a GPU")  # doctest: +IGNORE_EXCEPTION_DETAIL
    Traceback (most recent call last):
    semblance.errors.UnsupportedError: sb.exact on a GPU: expected CUDA kernels, got none
    """
    hint = "encoders use a GPU by themselves: pip install 'semblance[gpu]'"
    raise UnsupportedError(f"{what}: expected CUDA kernels, got none: {_REASON} ({hint})")
