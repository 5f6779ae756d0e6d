"""Names of codes, and which an index uses when it is asked to choose.

========  ==============================  ==========================================
name      bytes a row of ``d`` values     what it keeps
========  ==============================  ==========================================
``f32``   4 d                             everything
``f16``   2 d                             11 bits of precision, magnitudes to 65,504
``bf16``  2 d                             8 bits of precision, float32's range
``i8``    d + 8, rounded up to 16         a step of 1/127 of the row's largest value
``i4``    d / 2 + 8, rounded up to 16     the upper half of each ``i8`` code, for walks
``b1``    d / 8                           packed bits (metrics hamming and jaccard)
========  ==============================  ==========================================

With ``codes="i4"`` and ``rerank="i8"`` (what ``"auto"`` takes there) one copy serves both: a row holds the upper
halves of its codes first, which walks read, then the lower ones, which with them give the results the very distances of
``i8``; d + 12 bytes a row, rounded up to 16. Source: LVQ (Aguerrebere et al., VLDB 2023).

For float vectors in a graph, ``codes="b1"`` means neighbour codes: beside each row lie the ids of its neighbours and
some bits of where each of them is, so that one block of memory tells a walk how far all of them are: one a dimension,
or fewer where most of what differs between neighbours lies along few axes, which a bulk build finds out (cosine and
l2, from 4,096 rows on; ``code_bits`` in `Index.stats`). Rows themselves are kept as `rerank` says. Bytes a row: those
of `rerank` and at most ``max_degree * (d / 8 + 12)``, with max_degree rounded up to 32 and d to 16. Sources: RaBitQ
(Gao and Long, SIGMOD 2024), SymphonyQG (Gou et al., SIGMOD 2025).
"""

from __future__ import annotations

from .errors import ArgumentError

__all__ = ["BINARY_METRICS", "METRICS", "resolve"]

METRICS = ("cosine", "ip", "l2", "hamming", "jaccard")
BINARY_METRICS = frozenset({"hamming", "jaccard"})

_DENSE = ("f32", "f16", "bf16", "i8")
_ROUGH = "i4"  # leads walks; results need a finer copy
_LINKS_FROM = 64  # dimensions: with fewer, one bit each tells too little


def resolve(metric: str, kind: str, codes: str, rerank: str | None, d: int) -> tuple[str, str | None]:
    """Settle ``"auto"``: the codes that a walk reads and the finer copy that gives results their order.

    Parameters
    ----------
    metric : str
        One of ``METRICS``.
    kind : str
        ``"hnsw"`` or ``"flat"``. A flat index is asked for exact answers, so it keeps float32.
    codes, rerank : str or None
        As given to `Index`; ``None`` only for `rerank`, and means no finer copy.
    d : int
        Dimensions.

    Returns
    -------
    (str, str or None)
        For graphs over floats neighbour codes, or integer codes where vectors are compared by inner product, with a
        finer copy: float16 holds a unit vector to about 2e-4, other vectors may exceed its range and keep float32
        (unless `Index.build` has seen that float16 tells them apart).
        Short vectors (fewer than 64 dimensions) are kept as float32 alone: codes and a copy would take as much, and
        tell rows that lie close together apart less well.

    Raises
    ------
    ArgumentError
        For a name that is unknown or does not fit the metric.

    Examples
    --------
    >>> resolve("cosine", "hnsw", "auto", "auto", 384)
    ('b1', 'f16')
    >>> resolve("hamming", "hnsw", "auto", "auto", 384)
    ('b1', None)
    """
    binary = metric in BINARY_METRICS
    by_links = kind == "hnsw" and not binary
    names = ("b1",) if binary else (*_DENSE, _ROUGH, "b1") if by_links else (*_DENSE, _ROUGH)
    if not isinstance(codes, str) or (codes != "auto" and codes not in names):
        raise ArgumentError(f"codes: expected 'auto' or one of {names} for {_place(metric, kind)}, got {codes!r}")
    copies = ("b1",) if binary else _DENSE
    if rerank is not None and (not isinstance(rerank, str) or (rerank != "auto" and rerank not in copies)):
        raise ArgumentError(f"rerank: expected None, 'auto' or one of {copies} for metric '{metric}', got {rerank!r}")
    if codes == "auto":
        codes = "b1" if binary else _usual_codes(metric, d, rerank) if by_links else "f32"
    if by_links and codes == "b1" and rerank is None:
        raise ArgumentError(f"rerank: expected 'auto' or one of {copies} beside codes 'b1', got None")
    if rerank == "auto":
        wide_range = "f16" if metric == "cosine" else "f32"
        rerank = None if binary else {"b1": wide_range, "i8": wide_range, _ROUGH: "i8"}.get(codes)
    return codes, None if rerank == codes else rerank


def _usual_codes(metric: str, d: int, rerank: str | None) -> str:
    if d < _LINKS_FROM and rerank in (None, "auto"):
        return "f32"
    return "b1" if metric != "ip" and d >= _LINKS_FROM and rerank is not None else "i8"


def _place(metric: str, kind: str) -> str:
    return f"metric '{metric}' and kind '{kind}'"
