"""Names of codes, and which an index uses when it is asked to choose.

========  ==============================  ==========================================
name      bytes a row of ``d`` values     what it keeps
========  ==============================  ==========================================
``f32``   4 d                             everything
``f16``   2 d                             11 bits of precision, magnitudes to 65,504
``bf16``  2 d                             8 bits of precision, float32's range
``i8``    d + 8, rounded up to 16         a step of 1/127 of the row's largest value
``b1``    d / 8                           packed bits (metrics hamming and jaccard)
========  ==============================  ==========================================
"""

from __future__ import annotations

from .errors import ArgumentError

__all__ = ["BINARY_METRICS", "METRICS", "resolve"]

METRICS = ("cosine", "ip", "l2", "hamming", "jaccard")
BINARY_METRICS = frozenset({"hamming", "jaccard"})

_DENSE = ("f32", "f16", "bf16", "i8")


def resolve(metric: str, kind: str, codes: str, rerank: str | None) -> tuple[str, str | None]:
    """Settle ``"auto"``: the codes that a walk reads and the finer copy that reorders its results.

    Parameters
    ----------
    metric : str
        One of ``METRICS``.
    kind : str
        ``"hnsw"`` or ``"flat"``. A flat index is asked for exact answers, so it keeps float32.
    codes, rerank : str or None
        As given to `Index`; ``None`` only for `rerank`, and means no reordering.

    Returns
    -------
    (str, str or None)
        Integer codes with a finer copy for graphs over floats: float16 holds a unit vector to about 2e-4, other vectors
        may exceed its range and keep float32.

    Raises
    ------
    ArgumentError
        For a name that is unknown or does not fit the metric.

    Examples
    --------
    >>> resolve("cosine", "hnsw", "auto", "auto")
    ('i8', 'f16')
    >>> resolve("hamming", "hnsw", "auto", "auto")
    ('b1', None)
    """
    names = ("b1",) if metric in BINARY_METRICS else _DENSE
    if codes == "b1" and metric not in BINARY_METRICS and kind == "hnsw":
        return _resolve_links(metric, rerank)
    if not isinstance(codes, str) or (codes != "auto" and codes not in names):
        raise ArgumentError(f"codes: expected 'auto' or one of {names} for metric '{metric}', got {codes!r}")
    if rerank is not None and (not isinstance(rerank, str) or (rerank != "auto" and rerank not in names)):
        raise ArgumentError(f"rerank: expected None, 'auto' or one of {names} for metric '{metric}', got {rerank!r}")
    if codes == "auto":
        codes = "b1" if metric in BINARY_METRICS else "i8" if kind == "hnsw" else "f32"
    if rerank == "auto":
        rerank = None if codes != "i8" else "f16" if metric == "cosine" else "f32"
    return codes, None if rerank == codes else rerank


def _resolve_links(metric: str, rerank: str | None) -> tuple[str, str]:
    """Neighbour codes always come with a finer copy of each row, which gives the results their scores."""
    if rerank == "auto":
        return "b1", "f16" if metric == "cosine" else "f32"
    if rerank not in _DENSE:
        raise ArgumentError(f"rerank: expected 'auto' or one of {_DENSE} beside codes 'b1', got {rerank!r}")
    return "b1", rerank
