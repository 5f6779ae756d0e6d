"""Coverage-guided fuzzing of the calls themselves, any arguments in any order (``pip install atheris``):

    python tests/faults/fuzz_calls.py CORPUS [-max_total_time=600] [other options of libFuzzer]

`fuzz_files.py` covers what opens files. Values of any type go wherever a value goes; what is raised must be a
`semblance.Error`, or the TypeError of a call that does not fit a signature. Answers are looked over for what every
answer promises: shapes, order, ids that exist.
"""

from __future__ import annotations

import contextlib
import inspect
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from victims import tokenizer_json

import semblance as sb
from semblance.encode.tokenize import Tokenizer

DTYPES = ("f4", "f8", "f2", "i8", "u8", "i4", "u1", "i1", "?", "U3", "O", "c8", "M8[s]")
METRICS = ("l2", "cosine", "ip", "hamming", "jaccard")
CONDITIONS = (None, "n > 3", "text IS NULL", "n IN (1, 2)", "drop table records", "1; 2", "(", "id = ?", "n" * 999)
MODES = ("sum", "mean", "max")
_scratch = tempfile.TemporaryDirectory()
FOLDER = Path(_scratch.name)


class Values:
    """Reads arguments from bytes that never run out."""

    def __init__(self, data: bytes) -> None:
        self.data, self.at = data, 0

    def byte(self) -> int:
        self.at += 1
        return self.data[self.at - 1] if self.at <= len(self.data) else 0

    def below(self, n: int) -> int:
        return self.byte() % n

    def number(self) -> int:
        """Mostly small, now and then at an edge."""
        edges = (0, 1, -1, 2**31 - 1, 2**31, 2**32, 2**62, 2**63 - 1, 2**63, -(2**63), 2**64, 2**100)
        kind = self.byte()
        return edges[kind % len(edges)] if kind < 40 else kind % 40

    def array(self, n: int, d: int) -> Any:
        """Rows that mostly fit."""
        kind = self.byte()
        rng = np.random.default_rng(self.byte())
        rows = rng.integers(-3, 4, (n, d)).astype(np.float32) + np.float32(0.25)
        if kind < 150:
            return rows
        if kind < 170:
            return rng.integers(0, 256, (n, max(d // 8, 1)), np.uint8)
        if kind < 190:
            rows[self.below(n) if n else 0 :, : self.below(4)] = (np.nan, np.inf, -np.inf, 3e38, 1e-45)[self.below(5)]
            return rows[::-1, ::-1] if kind % 2 else rows
        if kind < 220:
            made = (rows.astype(DTYPES[self.below(4)]), rows.reshape((-1,)), rows[:, : self.below(d + 1)])
            return made[kind % 3]
        return self.anything()

    def ids(self, n: int) -> Any:
        """Ids that mostly fit."""
        kind = self.byte()
        if kind < 60:
            return None
        if kind < 150:
            return [self.byte() % 64 for _ in range(n)]
        if kind < 200:
            return np.array([self.byte() % 64 for _ in range(n)], np.int64)[:: -1 if kind % 2 else 1]
        if kind < 220:
            return [self.number() for _ in range(n)]
        return self.anything()

    def anything(self) -> Any:
        kind = self.below(14)
        made: list[Callable[[], Any]] = [
            lambda: None, lambda: True, self.number, lambda: float(self.byte()) - 100.5, lambda: float("nan"),
            lambda: "text", lambda: b"bytes", lambda: [], lambda: [[1.0, "x"], [2]], lambda: {"a": 1}, object,
            lambda: np.zeros([self.below(4) for _ in range(self.below(5))], DTYPES[self.below(len(DTYPES))]),
            lambda: np.array(self.number() % 2**31), lambda: range(self.below(9)),
        ]  # fmt: skip
        return made[kind]()

    def maybe(self, usual: Any) -> Any:
        """The usual value, or sometimes anything."""
        return self.anything() if self.byte() < 24 else usual


def index_calls(v: Values) -> None:
    """An index of any kind, and any calls on it."""
    d = 8 * (1 + v.below(12))
    metric = METRICS[v.below(5)]
    params: dict[str, Any] = {"metric": v.maybe(metric), "kind": v.maybe(("hnsw", "flat")[v.below(2)])}
    params["codes"] = v.maybe(("auto", "f32", "i8", "b1", "f16")[v.below(5)])
    params["rerank"] = v.maybe(("auto", None, "f32", "i8")[v.below(4)])
    params["max_degree"], params["ef_construction"] = v.maybe(4 + v.below(8)), v.maybe(8 + v.below(30))
    index = sb.Index(v.maybe(d), **params)
    d = index.dim
    if d > 512:
        return
    for _ in range(12):
        try:
            CALLS[v.below(len(CALLS))](index, v, d)
        except sb.Error:
            continue
    assert index.check().ok


def added(index: sb.Index, v: Values, d: int) -> None:
    n = v.below(24)
    rows, ids = v.array(n, d), v.ids(n)
    before = len(index)
    try:
        (index.add if v.below(2) else index.upsert)(rows, ids, threads=v.maybe(1 + v.below(2)))
    except (sb.Error, TypeError):
        assert len(index) == before
        raise sb.Error("refused") from None


def searched(index: sb.Index, v: Values, d: int) -> None:
    queries, k = v.array(1 + v.below(3), d), v.maybe(1 + v.below(30))
    options = {"exact": v.maybe(bool(v.below(2))), "threads": v.maybe(1)}
    if v.below(2):
        options["ef"] = v.maybe(40)
    if v.below(3) == 0:
        options["allowed"] = v.maybe(v.ids(5))
    hits = index.search(queries, k, **options)
    known = index.ids()
    assert hits.ids.shape == hits.distances.shape
    assert hits.ids.shape[1] == k
    assert np.isin(hits.ids[hits.ids >= 0], known).all()
    assert (np.diff(hits.distances, axis=1)[np.isfinite(hits.distances[:, 1:])] >= 0).all()


def within(index: sb.Index, v: Values, d: int) -> None:
    found = index.within(v.array(2, d), v.maybe(v.byte() / 4), exact=bool(v.below(2)))
    assert found.offsets[-1] == len(found.ids) == len(found.distances)


def looked(index: sb.Index, v: Values, d: int) -> None:
    assert isinstance(v.maybe(3) in index, bool)
    assert len(index.get(index.ids())) == len(index)
    index.get(v.ids(4))


def diverse(index: sb.Index, v: Values, d: int) -> None:
    index.diverse(v.array(1, d), v.maybe(3), pool=v.maybe(10), balance=v.maybe(0.5))


def kept(index: sb.Index, v: Values, d: int) -> None:
    index.save(FOLDER / "index")
    again = sb.Index.load(FOLDER / "index", mmap=v.maybe(False), verify=v.maybe(True))
    assert (np.sort(again.ids()) == np.sort(index.ids())).all()


CALLS: list[Callable[[sb.Index, Values, int], Any]] = [
    added, added, searched, searched, within, looked, diverse, kept,
    lambda index, v, d: index.remove(v.ids(4)),
    lambda index, v, d: index.compact(threads=v.maybe(1)),
    lambda index, v, d: index.allow(v.maybe(v.ids(6))),
    lambda index, v, d: index.tune(v.array(3, d), k=v.maybe(2), recall=v.maybe(0.9)),
    lambda index, v, d: setattr(index, "ef", v.maybe(20)),
]  # fmt: skip


def exact(v: Values) -> None:
    """Ground truth over any arrays."""
    d = 8 * (1 + v.below(4))
    hits = sb.exact(v.array(v.below(30), d), v.array(2, d), v.maybe(3), v.maybe(METRICS[v.below(5)]))
    assert hits.ids.shape == hits.distances.shape


def keys_of(v: Values, n: int) -> Any:
    """Keys of a table, some of them twice."""
    made = (None, list(range(n)), np.arange(n) * 7, [f"k{i}" for i in range(n)], [v.below(20) for _ in range(n)])
    return v.maybe(made[v.below(5)])


def keys_asked(v: Values, n: int) -> Any:
    """Keys to look up: rows that may be negative or too large, or words."""
    return [f"k{v.below(40)}" for _ in range(n)] if v.below(4) == 0 else v.ids(n)


def offsets_of(v: Values, n: int) -> Any:
    """Ends of bags over n values; now and then they decrease, start above 0, or end beyond or before the values."""
    offsets = sorted([0, n, *(v.below(n + 1) for _ in range(v.below(5)))])
    if v.below(3) == 0:
        offsets[v.below(len(offsets))] = v.number()
    return v.maybe(offsets if v.below(2) or max(map(abs, offsets)) >= 2**63 else np.array(offsets, np.int64))


def weights_of(v: Values, n: int) -> Any:
    """Weights of n values, or of one more or less, or none that are numbers."""
    some = np.ones(max(n + (0, 0, 0, 1, -1)[v.below(5)], 0), np.float32)
    some[: v.below(2)] = (2.0, np.nan, np.inf, -1e38)[v.below(4)]
    return v.maybe((None, some)[v.below(2)])


def bags_of(v: Values) -> tuple[Any, Any, Any]:
    """(values, offsets, weights) of a pooled look-up."""
    n = v.below(12)
    return keys_asked(v, n), offsets_of(v, n), weights_of(v, n)


def table_calls(v: Values) -> None:
    """A table of any kind, and any calls on it."""
    n, d = v.below(30), 1 + v.below(20)
    dtype = v.maybe(("f32", "f16", "bf16", "i8", "i4", "i2", "fp8")[v.below(7)])
    kind = v.below(5)
    weights = v.array(n, d)
    if kind == 0:
        table = sb.tables.product(weights, v.maybe(2), v.maybe(4), iterations=2)
    elif kind == 1:
        table = sb.tables.residual(weights, v.maybe(2), v.maybe(4), iterations=2)
    elif kind == 2:
        table = sb.tables.hashed(weights, v.maybe("feature"), v.maybe(2), dtype=dtype)
    else:
        missing = v.maybe(("zero", "mean", "row:0", "error")[v.below(4)])
        table = sb.EmbeddingTable.from_dense(weights, dtype=dtype, keys=keys_of(v, n), missing=missing)
    for _ in range(8):
        try:
            TABLE_CALLS[v.below(len(TABLE_CALLS))](table, v)
        except sb.Error:
            continue


def written(table: sb.EmbeddingTable, v: Values) -> None:
    with table.writer() as writer:
        writer.upsert(v.ids(3), v.array(3, table.dim))
        writer.remove(v.ids(2))


def grouped(table: sb.EmbeddingTable, v: Values) -> None:
    mode = v.maybe(MODES[v.below(3)])
    group = sb.TableGroup({"a": table, "b": v.maybe(table)}, {"x": "a", "y": v.maybe(("b", mode))})
    n = v.below(6)
    bags = (keys_asked(v, 2 * n), v.maybe(offsets_of(v, 2 * n)), weights_of(v, 2 * n))
    given = ({"x": keys_asked(v, n), "y": v.maybe(bags[: 2 + v.below(2)])}, np.array([v.number() % 40] * 2 * n))
    out = group.lookup(v.maybe(given[0] if v.below(3) else given[1].reshape(n, 2)))
    assert out.shape[1] == group.dim


def pooled(table: sb.EmbeddingTable, v: Values) -> None:
    values, offsets, weights = bags_of(v)
    out = table.pool(values, offsets, weights=weights, mode=v.maybe(MODES[v.below(3)]), threads=v.maybe(1))
    assert out.shape == (len(offsets) - 1, table.dim)
    assert offsets[0] == 0
    assert offsets[-1] == np.size(values)


def scored(table: sb.EmbeddingTable, v: Values) -> None:
    keys, many = keys_asked(v, 4), v.below(3)
    scores = table.score(v.maybe(v.array(many, table.dim) if many else np.ones(table.dim, np.float32)), keys)
    assert scores.dtype == np.float32


def looked_up(table: sb.EmbeddingTable, v: Values) -> None:
    keys = keys_asked(v, 4)
    out = table.lookup(keys, out=v.maybe(None), threads=v.maybe(1))
    assert out.shape == (*np.shape(keys), table.dim)


def table_kept(table: sb.EmbeddingTable, v: Values) -> None:
    """Saved and loaded again, the file as it is, cut, or with a byte changed."""
    path = FOLDER / "table"
    table.save(path)
    hurt = bytearray(path.read_bytes())
    kind, place, mmap, verify = v.below(3), v.byte() << 8 | v.byte(), v.maybe(True), v.maybe(bool(v.below(2)))
    if kind == 1:
        del hurt[len(hurt) * place >> 16 :]
    elif kind == 2:
        hurt[len(hurt) * place >> 16] ^= 1 + v.below(255)
    path.write_bytes(hurt)
    again = sb.EmbeddingTable.load(path, mmap=mmap, verify=verify)
    for use in (pooled, looked_up, scored, written):
        use(again, v)


TABLE_CALLS: list[Callable[[Any, Values], Any]] = [
    written, grouped, table_kept, pooled, pooled, scored, looked_up,
    lambda table, v: v.maybe(3) in table,
    lambda table, v: table.stats(),
    lambda table, v: table.rollback(),
    lambda table, v: table.compact(),
]  # fmt: skip


def spaces_calls(v: Values) -> None:
    """An index of several spaces."""
    index = sb.SpacesIndex(
        v.maybe({"a": 8, "b": 8 * v.below(3)}), v.maybe(METRICS[1 + v.below(2)]), max_degree=8, ef_construction=16
    )

    def items(n: int) -> Any:
        some = {name: v.array(n, d) for name, d in index.spaces.items() if v.below(4)}
        return v.maybe(some if v.below(4) else v.array(n, sum(index.spaces.values())))

    def weights() -> Any:
        return v.maybe({"a": v.maybe(v.byte() / 64 - 1), "b": v.maybe([0.5] * v.below(4))} if v.below(2) else None)

    for _ in range(8):
        n = v.below(8)
        some, ids = items(n), v.ids(n)
        try:
            match v.below(5):
                case 0 | 1:
                    (index.add if v.below(2) else index.upsert)(some, ids)
                case 2:
                    hits = index.search(some, v.maybe(3), weights(), exact=v.maybe(bool(v.below(2))))
                    assert hits.ids.shape == hits.distances.shape
                case 3:
                    index.remove(ids)
                    index.get(index.ids()[:3])
                case 4:
                    index.tune(some, v.maybe(2), v.maybe(0.9), weights())
        except sb.Error:
            continue
    assert index.check().ok


def row(v: Values, d: int) -> Any:
    """A vector that mostly fits."""
    rows = v.array(1, d)
    return rows[0] if isinstance(rows, np.ndarray) and rows.ndim and len(rows) else rows


def record(v: Values, d: int) -> Any:
    """A record that mostly fits."""
    made = {"id": v.maybe((v.below(12), f"r{v.below(9)}")[v.below(2)]), "vector": v.maybe(row(v, d))}
    made["n"] = v.maybe(v.number())
    made[("text", "x", "n", "id")[v.below(4)]] = v.anything()
    return v.maybe(made)


def collection_calls(v: Values) -> None:
    """A collection in memory of its own folder, and any calls on it."""
    with tempfile.TemporaryDirectory(dir=FOLDER) as folder:
        db = sb.Collection.open(Path(folder) / "items.db", dim=v.maybe(8), indexed=v.maybe(("n",)))
        try:
            for _ in range(6):
                with contextlib.suppress(sb.Error):
                    COLLECTION_CALLS[v.below(len(COLLECTION_CALLS))](db, v)
            assert db.check()
        finally:
            db.close()


def put(db: sb.Collection, v: Values) -> None:
    records = v.maybe([record(v, 8) for _ in range(v.below(4))])
    before = len(db)
    try:
        (db.add if v.below(2) else db.upsert)(records, batch=v.maybe(100))
    except (sb.Error, TypeError):
        assert len(db) == before
        raise sb.Error("refused") from None


def asked(db: sb.Collection, v: Values) -> None:
    where = v.maybe(CONDITIONS[v.below(len(CONDITIONS))])
    hits = db.search(v.maybe(row(v, 8)), k=v.maybe(3), where=where, hybrid=v.maybe(False))
    assert [hit.score for hit in hits] == sorted((hit.score for hit in hits), reverse=True)


COLLECTION_CALLS: list[Callable[[Any, Values], Any]] = [
    put, put, asked,
    lambda db, v: db.remove(v.maybe([v.below(12), "r1"]), strict=v.maybe(False)),
    lambda db, v: db.get(v.maybe(v.below(12))),
    lambda db, v: db.checkpoint(),
    lambda db, v: db.compact(),
    lambda db, v: len(list(db.ids())),
]  # fmt: skip

TOKENIZER = Tokenizer(tokenizer_json())
ENCODER = sb.Encoder()


def texts(v: Values) -> None:
    """Texts of any code points through the tokenizers and the embedded encoder."""
    some = [
        "".join(chr(min(v.byte() << 8 * v.below(3), 0x10FFFF)) for _ in range(v.below(40))) for _ in range(v.below(4))
    ]
    given = v.maybe(some)
    assert all(len(ids) <= 7 for ids in TOKENIZER.ids(some, 7))
    vectors = ENCODER.encode(given)
    assert vectors.dtype == np.float32
    assert np.isfinite(vectors).all()


DOORS = (index_calls, index_calls, exact, table_calls, table_calls, texts, spaces_calls, collection_calls)


def one_input(data: bytes) -> None:
    """What libFuzzer calls."""
    v = Values(data)
    door = DOORS[v.below(len(DOORS))]
    try:
        door(v)
    except sb.Error:
        pass
    except TypeError as error:  # a call that fits no signature, as from any Python function
        if "argument" not in str(error) and "unhashable" not in str(error):
            raise


def fill(corpus: Path) -> None:
    """A few inputs for every door."""
    corpus.mkdir(exist_ok=True)
    for door in range(len(DOORS)):
        for seed in range(4):
            noise = np.random.default_rng(seed).integers(24, 256, 200, np.uint8).tobytes()
            (corpus / f"{door}_{seed}").write_bytes(bytes([door]) + noise)


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
