"""Instruction sets of the native kernels: which there are, and which one is in use.

The best one that the processor and the operating system support is chosen when native code first runs. The environment
variable ``SEMBLANCE_ISA``, read at that moment, forces another, for tests and for comparisons. Within one instruction
set results never depend on batch sizes or threads; between them, float scores may differ in the last digits (sums are
taken in another order), while scores of 8-bit codes and of bits, and all conversions, are the same bits.
"""

from __future__ import annotations

from ._core import kernels as _kernels

__all__ = ["active", "available"]


def available() -> list[str]:
    """Instruction sets that this build and this machine have.

    Returns
    -------
    list of str
        From the narrowest to the widest, out of ``"scalar"``, ``"neon"``, ``"avx2"``, ``"avx512"`` and
        ``"avx512vnni"``. ``"scalar"`` is always there.

    Examples
    --------
    >>> import semblance as sb
    >>> sb.kernels.available()[0]
    'scalar'
    """
    return _kernels.available()


def active() -> str:
    """Name of the instruction set in use.

    Returns
    -------
    str
        One of :func:`available`: the last of them, or the one that ``SEMBLANCE_ISA`` named.

    Raises
    ------
    ArgumentError
        ``SEMBLANCE_ISA`` names no instruction set. All other native work raises the same.
    UnsupportedError
        ``SEMBLANCE_ISA`` names one that this build or this processor lacks.

    Examples
    --------
    >>> import semblance as sb
    >>> sb.kernels.active() in sb.kernels.available()
    True
    """
    return _kernels.active()
