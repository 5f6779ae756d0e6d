"""The public names and signatures that users rely on; what is new may only come behind them."""

from __future__ import annotations

import inspect

import numpy as np
import pytest

import semblance as sb

# As callers write them: parameters in order, with defaults; "*" starts those given by name.
SIGNATURES = {
    "Index": "d, metric='cosine', kind='hnsw', codes='auto', rerank='auto', max_degree=32, ef_construction=200, seed=0",
    "Index.add": "vectors, ids=None, *, threads=0, progress=False",
    "Index.upsert": "vectors, ids, *, threads=0, progress=False",
    "Index.search": "queries, k=10, ef=None, allowed=None, exact=False, *, threads=0",
    "Index.within": "queries, radius, ef=None, allowed=None, exact=False, *, threads=0",
    "Index.diverse": "query, k=10, pool=100, balance=0.5, groups=None",
    "Index.remove": "ids",
    "Index.get": "ids",
    "Index.ids": "",
    "Index.allow": "ids",
    "Index.tune": "queries, k=10, recall=0.95",
    "Index.compact": "*, threads=0, progress=False",
    "Index.check": "",
    "Index.stats": "",
    "Index.save": "path",
    "Index.load": "path, mmap=False, verify=True",
    "Index.build": "vectors, ids=None, *, threads=0, progress=False",
    "SpacesIndex": "spaces, metric='cosine', kind='hnsw', codes='auto', rerank='auto', max_degree=32",
    "SpacesIndex.add": "vectors, ids=None, *, threads=0, progress=False",
    "SpacesIndex.search": "queries, k=10, weights=None, ef=None, allowed=None, exact=False, *, threads=0",
    "SpacesIndex.get": "ids",
    "SpacesIndex.load": "path, mmap=False, verify=True",
    "exact": "vectors, queries, k=10, metric='cosine', *, threads=0",
    "fuse": "rankings, method='rrf', k=10",
    "EmbeddingTable.from_dense": "weights, dtype='i8', keys=None, missing='error'",
    "EmbeddingTable.lookup": "keys, out=None, *, threads=0",
    "EmbeddingTable.pool": "values, offsets, weights=None, mode='sum', out=None, *, threads=0",
    "EmbeddingTable.score": "query, keys, *, threads=0",
    "EmbeddingTable.writer": "",
    "EmbeddingTable.save": "path",
    "TableGroup": "tables, fields=None",
    "TableGroup.lookup": "inputs, out=None, *, threads=0",
    "Encoder": "model=None, *, device='auto', pooling='auto', dims=None, layers=None, instruction=None",
    "Encoder.encode": "texts, *, batch_tokens=None, progress=False, normalize=True",
    "Encoder.aencode": "texts",
    "Encoder.layers": "texts",
    "Encoder.tokens": "texts",
    "Reranker.rerank": "query, texts",
    "Collection.open": "path, encoder=None",
    "Collection.search": "query, k=10, where=None, *, hybrid=False",
}
MODULES = ("codecs", "gpu", "kernels", "tables")
MAKERS = ("hashed", "quotient_remainder", "product", "residual", "pruned", "mixed", "seeded")
PROPERTIES = {
    "Index": ("dim", "metric", "ef"), "EmbeddingTable": ("nbytes",), "Encoder": ("dim", "device"),
    "SpacesIndex": ("spaces", "metric", "ef"),
}  # fmt: skip


@pytest.mark.parametrize("path", SIGNATURES)
def test_signature(path: str) -> None:
    thing = sb
    for part in path.split("."):
        thing = getattr(thing, part)
    scope: dict[str, object] = {}
    exec(f"def wanted({SIGNATURES[path]}): ...", scope)
    wanted = inspect.signature(scope["wanted"]).parameters  # type: ignore[arg-type]
    real = dict(inspect.signature(thing).parameters)  # type: ignore[arg-type]
    real.pop("self", None)
    assert set(wanted) <= set(real)
    positional = [name for name, p in wanted.items() if p.kind is p.POSITIONAL_OR_KEYWORD]
    assert list(real)[: len(positional)] == positional
    for name, parameter in wanted.items():
        assert real[name].default == parameter.default, name
        assert real[name].kind == parameter.kind, name


def test_names() -> None:
    for name in MODULES:
        assert inspect.ismodule(getattr(sb, name))
    for name in MAKERS:
        assert callable(getattr(sb.tables, name))
    for owner, names in PROPERTIES.items():
        for name in names:
            assert not callable(inspect.getattr_static(getattr(sb, owner), name))


def test_errors_are_one_tree() -> None:
    bases = {
        sb.ArgumentError: ValueError, sb.FormatError: ValueError, sb.NotFoundError: KeyError,
        sb.UnsupportedError: RuntimeError, sb.CapacityError: MemoryError,
    }  # fmt: skip
    for error, base in bases.items():
        assert issubclass(error, sb.Error)
        assert issubclass(error, base)


@pytest.mark.skipif(sb.gpu.is_available(), reason="there is a GPU")
def test_no_gpu_says_why() -> None:
    with pytest.raises(sb.UnsupportedError, match=r"exact on a GPU: expected .*, got none: ."):
        sb.gpu.require("exact on a GPU")


def test_what_calls_return() -> None:
    index = sb.Index(4)
    assert index.add(np.eye(4)).dtype == np.int64
    ids, distances = index.search(np.eye(4), k=6)
    assert (ids.dtype, ids.shape, distances.dtype, distances.shape) == (np.int64, (4, 6), np.float32, (4, 6))
    assert (ids[:, 4:] == -1).all()
    assert np.isposinf(distances[:, 4:]).all()
    offsets, found, far = index.within(np.eye(4), 0.5)
    assert (offsets.dtype, offsets.shape, found.dtype, far.dtype) == (np.int64, (5,), np.int64, np.float32)
    assert index.get([0]).dtype == np.float32
    assert index.remove([0, 9]) == 1
    assert (0 in index, 1 in index, len(index)) == (False, True, 3)
    truth = sb.exact(np.eye(4), np.eye(4), 2)
    assert (truth.ids.dtype, truth.distances.dtype) == (np.int64, np.float32)
