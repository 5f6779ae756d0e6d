"""The extension module `semblance._cuda`, where this build has it and a card is there to run it."""

from __future__ import annotations

from importlib import import_module

from ..errors import UnsupportedError

__all__ = ["is_available", "reason", "require"]

_NOT_BUILT = "this build of semblance has no CUDA kernels (extension module semblance._cuda)"


def reason() -> str:
    """Return what is missing, as one sentence; empty where a GPU can be used.

    Examples
    --------
    >>> import semblance as sb
    >>> sb.gpu.is_available() or bool(sb.gpu.reason())
    True
    """
    try:  # by name: `from .. import` says of a module that is not there what it says of one that cannot be loaded
        missing: str = import_module("semblance._cuda").missing()
    except ModuleNotFoundError:
        return _NOT_BUILT
    except ImportError as error:
        return f"semblance._cuda cannot be loaded: {error}"
    return missing


def is_available() -> bool:
    """Return whether indexes and tables can run on a GPU here; `reason` says why not.

    Examples
    --------
    >>> import semblance as sb
    >>> sb.gpu.is_available() == (sb.gpu.reason() == "")
    True
    """
    return not reason()


def require(what: str = "a GPU") -> None:
    """Refuse what needs a GPU where there is none, naming what is missing.

    Parameters
    ----------
    what : str
        What was asked for.

    Raises
    ------
    UnsupportedError
        No GPU can be used here.

    Examples
    --------
    >>> import semblance as sb
    >>> if not sb.gpu.is_available():
    ...     try:
    ...         sb.gpu.require("sb.exact on a GPU")
    ...     except sb.UnsupportedError as error:
    ...         assert "sb.exact on a GPU: expected" in str(error)
    """
    missing = reason()
    if missing == _NOT_BUILT:
        hint = "docs/gpu.md says how to build them; encoders use a GPU by themselves: pip install 'semblance[gpu]'"
        raise UnsupportedError(f"{what}: expected CUDA kernels, got none: {missing} ({hint})")
    if missing:
        raise UnsupportedError(f"{what}: expected a GPU that can be used, got none: {missing}")
