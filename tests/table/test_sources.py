"""Tables whose rows are made, against the same rows put together with NumPy."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import semblance as sb
from semblance import tables as st_tables
from semblance.tables import EmbeddingTable, MadeTable, Pick

RNG = np.random.default_rng(0)


def normal(*shape: int) -> np.ndarray:
    return np.random.default_rng(sum(shape)).standard_normal(shape).astype(np.float32)


MASK = (1 << 64) - 1


def mix64(x: int) -> int:
    x = (x + 0x9E3779B97F4A7C15) & MASK
    x = ((x ^ x >> 30) * 0xBF58476D1CE4E5B9) & MASK
    x = ((x ^ x >> 27) * 0x94D049BB133111EB) & MASK
    return x ^ x >> 31


def hash_row(key: int, salt: int, rows: int) -> int:
    return mix64((key & MASK) ^ mix64(salt)) * rows >> 64


def build(name: str, missing: str = "zero", **kwargs) -> tuple[EmbeddingTable, np.ndarray]:  # noqa: PLR0911
    """A table with 60 rows of 12 columns, and these rows dense, made without the code under test."""
    options = {"missing": missing, **kwargs}
    q, r = normal(10, 12), normal(6, 12)
    keys = np.arange(60)
    if name == "quotient_remainder multiply":
        return st_tables.quotient_remainder(q, r, dtype="f32", **options), q[keys // 6] * r[keys % 6]
    if name == "quotient_remainder sum":
        return st_tables.quotient_remainder(q, r, combine="sum", dtype="f32", **options), q[keys // 6] + r[keys % 6]
    if name == "quotient_remainder concat":
        dense = np.concatenate([q[keys // 6, :5], r[keys % 6, :7]], axis=1)
        table = st_tables.quotient_remainder(q[:, :5], r[:, :7], combine="concat", dtype="f32", **options)
        return table, dense
    if name == "factor":
        factor = normal(60, 1)
        picks = [
            Pick(EmbeddingTable.from_dense(factor, "f32"), "row"),
            Pick(EmbeddingTable.from_dense(r, "f32"), "remainder", 6),
        ]
        return st_tables.composed(picks, "multiply", 60, **options), factor * r[keys % 6]
    if name in ("product codes", "residual codes"):
        codes = np.random.default_rng(1).integers(0, 9, (60, 3))
        books = [normal(9, 4) for _ in range(3)] if name == "product codes" else [normal(9, 12) + i for i in range(3)]
        parts = [book[codes[:, i]] for i, book in enumerate(books)]
        if name == "product codes":
            return st_tables.from_codes(books, codes, **options), np.concatenate(parts, axis=1)
        return st_tables.from_codes(books, codes, "sum", **options), (parts[0] + parts[1]) + parts[2]
    if name == "wide codes":
        codes = np.random.default_rng(1).integers(0, 300, (60, 1))
        book = normal(300, 12)
        return st_tables.from_codes([book], codes, **options), book[codes[:, 0]]
    if name == "pruned":
        rows, remap = normal(20, 12), np.random.default_rng(2).integers(-1, 20, 60)
        dense = np.where(remap[:, None] >= 0, rows[remap], 0).astype(np.float32)
        return st_tables.pruned(rows, remap, "f32", **options), dense
    if name == "mixed":
        blocks = [normal(25, 4), normal(5, 12), normal(30, 1)]
        dense = np.concatenate([np.pad(block, ((0, 0), (0, 12 - block.shape[1]))) for block in blocks])
        return st_tables.mixed(blocks, dtype="f32", **options), dense
    assert name == "pruned and mixed"
    rows, remap = normal(8, 7), np.arange(40) % 9 - 1
    block = np.where(remap[:, None] >= 0, rows[remap], 0)
    dense = np.concatenate([np.pad(block, ((0, 0), (0, 5))), normal(20, 12)]).astype(np.float32)
    return st_tables.mixed([st_tables.pruned(rows, remap, "f32"), normal(20, 12)], dtype="f32", **options), dense


BOUNDED = (
    "quotient_remainder multiply",
    "quotient_remainder sum",
    "quotient_remainder concat",
    "factor",
    "product codes",
    "residual codes",
    "wide codes",
    "pruned",
    "mixed",
    "pruned and mixed",
)
MODES = ("sum", "mean", "max")


@pytest.mark.parametrize("name", BOUNDED)
def test_rows_are_what_they_are_made_of(name):
    table, dense = build(name)
    np.testing.assert_array_equal(table.lookup(np.arange(60)), dense)
    assert len(table) == 60
    assert 59 in table
    assert 60 not in table
    query = normal(12)
    np.testing.assert_allclose(table.score(query, np.arange(60)), dense @ query, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", BOUNDED)
@settings(max_examples=15, deadline=None, derandomize=True)
@given(seed=st.integers(0, 2**32))
def test_they_read_as_the_dense_table_does(name, seed):
    """Look-ups, bags and scores, unknown keys and padding among them, equal a dense f32 table's bit for bit."""
    rng = np.random.default_rng(seed)
    padding = None if rng.random() < 0.5 else 7
    missing = str(rng.choice(["zero", "mean", "row:3"]))
    table, dense = build(name, missing, padding=padding)
    truth = EmbeddingTable.from_dense(dense, "f32", missing=missing, padding=padding)
    offsets = np.concatenate([[0], np.cumsum(rng.integers(0, 40, 30))]).astype(np.int64)
    values = rng.integers(-20, 90, offsets[-1])
    exact = missing != "mean"  # the mean row is summed in another order
    for threads in (1, 2):
        compare(table.lookup(values, threads=threads), truth.lookup(values), exact)
        for mode in MODES:
            weights = None if mode == "max" else rng.standard_normal(len(values)).astype(np.float32)
            got = table.pool(values, offsets, weights, mode, threads=threads)
            compare(got, truth.pool(values, offsets, weights, mode), exact)
        query = rng.standard_normal(12).astype(np.float32)
        compare(table.score(query, values), truth.score(query, values), exact=False)
    assert table.stats()["unknown_keys"] == truth.stats()["unknown_keys"] > 0


def compare(got: np.ndarray, expected: np.ndarray, exact: bool) -> None:
    if exact:
        np.testing.assert_array_equal(got, expected)
    else:
        np.testing.assert_allclose(got, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", BOUNDED)
def test_unknown_keys_under_error(name):
    table, _ = build(name, "error")
    for wrong in (60, -1, 2**62, -(2**63)):
        out = np.full((2, 12), 7, np.float32)
        with pytest.raises(sb.ArgumentError, match=rf"row numbers from 0 to 60 exclusive, got {wrong} at position 1"):
            table.lookup([0, wrong], out)
        assert (out == 7).all()
        with pytest.raises(sb.ArgumentError, match="row numbers"):
            table.pool([0, wrong], [0, 2])
        with pytest.raises(sb.ArgumentError, match="row numbers"):
            table.score(normal(12), [0, wrong])


def everything() -> dict[str, EmbeddingTable]:
    shared = EmbeddingTable.from_dense(normal(50, 6), "i4")
    made = {name: build(name, "mean", padding=7)[0] for name in BOUNDED}
    weights = normal(90, 8)
    return made | {
        "hashed": st_tables.hashed(shared, "user", 2, padding=5),
        "hashed text": st_tables.hashed(shared, "item", 2, keys="str"),
        "block_shared": st_tables.block_shared(normal(31), 12, "user", 3),
        "seeded": st_tables.seeded(12, seed=3),
        "seeded rows": st_tables.seeded(12, 60, distribution="uniform", missing="row:1"),
        "product": st_tables.product(weights, 4, 16, missing="zero", dtype="i8"),
        "residual": st_tables.residual(weights, 3, 16, keys=np.arange(90) * 11, missing="zero"),
        "residual text": st_tables.residual(weights, 2, 8, keys=[f"k{i}" for i in range(90)], missing="mean"),
        "of made": st_tables.mixed([st_tables.seeded(5, 40), build("mixed")[0]], missing="zero"),
    }


@pytest.mark.parametrize("name", list(everything()))
@pytest.mark.parametrize("mmap", [False, True])
def test_round_trip(tmp_path, name, mmap):
    built = everything()[name]
    built.save(tmp_path / "t.sb")
    loaded = EmbeddingTable.load(tmp_path / "t.sb", mmap=mmap)
    text = "text" in name
    wanted = [f"k{i}" for i in range(120)] if text else np.arange(-5, 1000)
    np.testing.assert_array_equal(loaded.lookup(wanted), built.lookup(wanted))
    np.testing.assert_array_equal(
        loaded.pool(wanted, [0, 9, 120] if text else [0, 9, 1005]), built.pool(wanted, [0, 9, len(wanted)])
    )
    assert repr(loaded) == repr(built)
    assert type(loaded) is type(built)
    assert loaded.nbytes == built.nbytes
    assert loaded.stats()["row_bytes"] == built.stats()["row_bytes"]


def test_cut_and_flipped_files(tmp_path):
    path = tmp_path / "t.sb"
    rng = np.random.default_rng(0)
    for name in ("product codes", "mixed", "pruned"):
        build(name)[0].save(path)
        whole = path.read_bytes()
        for _ in range(40):
            broken = bytearray(whole[: rng.integers(0, len(whole))] if rng.random() < 0.3 else whole)
            if broken:
                broken[rng.integers(0, len(broken))] ^= 1 << rng.integers(0, 8)
            path.write_bytes(bytes(broken))
            with pytest.raises(sb.FormatError):
                EmbeddingTable.load(path)


def test_a_group_of_every_kind():
    tables = {name: table for name, table in everything().items() if "text" not in name}
    rng = np.random.default_rng(0)
    fields = {name: (name, "mean") for name in tables}
    inputs, expected = {}, []
    for i, (name, table) in enumerate(tables.items()):
        keys = rng.integers(0, 40, 300) * (11 if name == "residual" else 1)
        inputs[name] = keys if i % 2 else (keys, np.arange(0, 301, 3)[:101])
        if i % 2:
            inputs[name] = keys[:100]
            expected.append(table.lookup(keys[:100]))
        else:
            expected.append(table.pool(keys, np.arange(0, 301, 3), mode="mean"))
    group = sb.TableGroup(tables, fields)
    for threads in (1, 2):
        np.testing.assert_array_equal(group.lookup(inputs, threads=threads), np.concatenate(expected, axis=1))


def test_hashed_rows_are_those_of_the_documented_hash():
    shared = normal(50, 6)
    keys = np.concatenate([np.arange(-50, 50), [2**63 - 1, -(2**63)]])
    salts = st_tables.salts("user", 3, seed=9)
    assert len(set(salts) | set(st_tables.salts("item", 3, seed=9)) | set(st_tables.salts("user", 3))) == 9
    rows = [[hash_row(int(key), salt, 50) for key in keys] for salt in salts]
    for salt, expected in zip(salts, rows, strict=True):
        assert st_tables.hash_rows(keys, salt, 50).tolist() == expected
    table = st_tables.hashed(shared, "user", 3, seed=9, dtype="f32")
    np.testing.assert_array_equal(table.lookup(keys), np.concatenate([shared[r] for r in rows], axis=1))
    table = st_tables.hashed(shared, "user", 3, seed=9, combine="sum", dtype="f32")
    np.testing.assert_array_equal(table.lookup(keys), (shared[rows[0]] + shared[rows[1]]) + shared[rows[2]])
    assert 10**18 in table
    with pytest.raises(sb.UnsupportedError, match="every key has a row"):
        len(table)


def test_hashes_are_even_and_features_share_memory():
    shared = EmbeddingTable.from_dense(normal(64, 4))
    counts = np.bincount(st_tables.hash_rows(np.arange(64_000), 1, 64), minlength=64)
    assert (np.abs(counts - 1000) < 200).all()
    features = {name: st_tables.hashed(shared, name, 2) for name in ("a", "b", "c")}
    group = sb.TableGroup(features)
    assert group.nbytes == shared.nbytes == features["a"].nbytes
    assert group.dim == 3 * 8


def test_blocks_lie_in_one_circular_array():
    values = np.arange(31, dtype=np.float32)
    table = st_tables.block_shared(values, 12, "user", 4, dtype="f32")
    keys = np.arange(200)
    starts = [st_tables.hash_rows(keys, salt, 31) for salt in st_tables.salts("user", 3)]
    assert max(start.max() for start in starts) == 30
    expected = [values[(start[:, None] + np.arange(4)) % 31] for start in starts]
    np.testing.assert_array_equal(table.lookup(keys), np.concatenate(expected, axis=1))
    other = st_tables.block_shared(table, 8, "item", 4)
    assert sb.TableGroup({"user": table, "item": other}).nbytes == table.nbytes == 34 * 4


def test_seeded_rows():
    table = st_tables.seeded(256, seed=5)
    rows = table.lookup(np.arange(2000))
    assert table.nbytes == 0
    assert abs(rows.mean()) < 1e-3
    assert abs(rows.std() * 16 - 1) < 5e-3
    scaled = (rows * 16).astype(np.float64)
    assert abs((scaled**4).mean() - 2.97) < 0.05
    correlation = np.corrcoef(rows[:200])
    assert np.abs(correlation - np.eye(200)).max() < 0.4
    assert not np.array_equal(st_tables.seeded(256, seed=6).lookup(1), table.lookup(1))
    np.testing.assert_array_equal(table.lookup([3, 1999]), rows[[3, 1999]])
    uniform = st_tables.seeded(8, distribution="uniform", deviation=1.0).lookup(np.arange(20_000))
    assert abs(uniform.std() - 1) < 0.01
    assert np.abs(uniform).max() <= 3**0.5 * (1 + 1e-6)


@pytest.mark.parametrize("key", [0, -1, 2**62])
def test_seeded_bits(key):
    """The documented numbers, from integers alone."""
    row = mix64(2 ^ mix64(key & MASK))
    bits = [mix64((row + j) & MASK) for j in range(5)]
    centred = [np.float32(b >> 40) * np.float32(2**-24) - np.float32(0.5) for b in bits]
    dither = [np.float32(mix64(~b & MASK) >> 40) * np.float32(2**-24) - np.float32(0.5) for b in bits]
    coins = [np.float32(b.bit_count() - 32) + d for b, d in zip(bits, dither, strict=True)]
    normals = [c * (np.float32(3) / np.float32((16 + 1 / 12) ** 0.5)) for c in coins]
    uniforms = [c * (np.float32(3) / np.float32(12**-0.5)) for c in centred]
    assert st_tables.seeded(5, seed=2, deviation=3).lookup(key).tolist() == normals
    assert st_tables.seeded(5, seed=2, deviation=3, distribution="uniform").lookup(key).tolist() == uniforms


def test_codebooks_are_trained():
    """On clustered rows both kinds come close; more codes come closer; the seed alone decides, not the threads."""
    centres = normal(40, 16) * 4
    weights = (centres[np.random.default_rng(1).integers(0, 40, 3000)] + 0.1 * normal(3000, 16)).astype(np.float32)
    keys = np.arange(3000)
    total = ((weights - weights.mean(0)) ** 2).mean()
    for make, coarse, fine in (
        (st_tables.product, {"subspaces": 2}, {"subspaces": 8}),
        (st_tables.residual, {"levels": 1}, {"levels": 4}),
    ):
        errors = []
        for options in (coarse, fine):
            tables = [make(weights, codewords=64, threads=threads, seed=4, **options) for threads in (1, 2)]
            np.testing.assert_array_equal(tables[0].codes, tables[1].codes)
            np.testing.assert_array_equal(tables[0].lookup(keys), tables[1].lookup(keys))
            errors.append(((tables[0].lookup(keys) - weights) ** 2).mean() / total)
        assert errors[1] < errors[0] < 0.05
        assert errors[1] < 0.005
        other = make(weights, codewords=64, seed=5, **fine)
        assert not np.array_equal(other.codes, tables[0].codes)


def test_every_code_is_the_nearest():
    weights = normal(500, 6)
    table = st_tables.product(weights, 2, 20)
    for column in range(2):
        book = table._generation.recipe.parts[column].rows.view(np.float32)
        part = weights[:, column * 3 : column * 3 + 3]
        distances = ((part[:, None] - book[None]) ** 2).sum(-1)
        chosen = np.take_along_axis(distances, table.codes[:, column : column + 1].astype(np.int64), 1)[:, 0]
        np.testing.assert_allclose(chosen, distances.min(1), rtol=1e-4, atol=1e-6)
        used = np.bincount(table.codes[:, column], minlength=20)
        assert (used > 0).all()
        means = np.stack([part[table.codes[:, column] == c].mean(0) for c in range(20)])
        assert ((means - book) ** 2).mean() < 0.02


def test_kmeans_on_few_distinct_rows():
    weights = np.repeat(normal(3, 4), 20, axis=0)
    table = st_tables.residual(weights, 1, 10)
    np.testing.assert_allclose(table.lookup(np.arange(60)), weights, atol=1e-6)
    same = st_tables.product(np.ones((5, 4), np.float32), 2, 5)
    np.testing.assert_array_equal(same.lookup(np.arange(5)), np.ones((5, 4)))


def test_training_can_be_stopped_and_followed():
    seen = []
    st_tables.product(normal(300, 4), 1, 8, progress=lambda done, total: seen.append((done, total)))

    class Stop(Exception):
        pass

    def stop(done: int, total: int) -> None:
        raise Stop

    with pytest.raises(Stop):
        st_tables.residual(normal(60_000, 32), 4, 512, iterations=200, progress=stop)


def test_semantic_ids():
    codes = np.array([[1, 2], [0, 2], [1, 2], [1, 2], [0, 2]])
    table = st_tables.from_codes([normal(2, 3), normal(3, 3)], codes, "sum")
    assert st_tables.semantic_ids(table, unique=False).tolist() == codes.tolist()
    ids = st_tables.semantic_ids(table)
    assert ids.tolist() == [[1, 2, 0], [0, 2, 0], [1, 2, 1], [1, 2, 2], [0, 2, 1]]
    with pytest.raises(sb.ArgumentError, match="table of codebooks"):
        st_tables.semantic_ids(EmbeddingTable.from_dense(normal(2, 3)))
    with pytest.raises(ValueError, match="read-only"):
        table.codes[0, 0] = 1
    with pytest.raises(sb.UnsupportedError, match="table of codebooks"):
        _ = st_tables.seeded(3).codes


def test_pruned_tables_are_written_to():
    table, dense = build("pruned")
    gone = int(np.nonzero((dense == 0).all(1))[0][0])
    kept = int(np.nonzero((dense != 0).all(1))[0][0])
    truth = dense.copy()
    with table.writer() as writer:
        writer.upsert([gone, kept], np.stack([np.full(12, 3), np.full(12, 4)]).astype(np.float32))
        writer.remove([kept + 1 if kept + 1 != gone else kept + 2])
    truth[gone], truth[kept] = 3, 4
    truth[kept + 1 if kept + 1 != gone else kept + 2] = 0
    for step in (lambda: None, table.compact):
        step()
        np.testing.assert_array_equal(table.lookup(np.arange(60)), truth)
        assert len(table) == 59
    with pytest.raises(sb.ArgumentError, match="row numbers from 0 to 60"), table.writer() as writer:
        writer.upsert([60], np.zeros((1, 12), np.float32))


def test_made_tables_are_read_only():
    table, _ = build("mixed")
    refused = (table.writer, table.compact, table.compact_in_background, table.rollback, lambda: table.replace(table))
    for call in refused:
        with pytest.raises(sb.UnsupportedError, match="rows are made"):
            call()
    assert isinstance(table, MadeTable)


def test_parts_keep_the_state_they_had():
    part = EmbeddingTable.from_dense(normal(4, 3), "f32")
    table = st_tables.mixed([part])
    before = table.lookup(np.arange(4))
    with part.writer() as writer:
        writer.upsert([0], np.zeros((1, 3), np.float32))
    np.testing.assert_array_equal(table.lookup(np.arange(4)), before)
    with pytest.raises(sb.ArgumentError, match="without padding and unfolded changes"):
        st_tables.mixed([part])
    part.compact()
    assert st_tables.mixed([part]).lookup(0).tolist() == [0, 0, 0]


KEYED = EmbeddingTable.from_dense(normal(4, 3), keys=[1, 2, 3, 4])


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: st_tables.hashed(np.zeros((0, 3), np.float32), "u"), "a part with rows"),
        (lambda: st_tables.hashed(KEYED, "u"), "tables under row numbers"),
        (lambda: st_tables.hashed(normal(3, 3), "u", 0), "chunks: expected 1"),
        (lambda: st_tables.hashed(normal(3, 3), "u", keys="float"), "keys: expected one of int64, str"),
        (lambda: st_tables.quotient_remainder(normal(3, 3), normal(4, 3), 13), "at least 4 rows, got 3"),
        (lambda: st_tables.quotient_remainder(normal(3, 3), normal(4, 2)), "parts of 3 columns or one, got 2"),
        (lambda: st_tables.quotient_remainder(normal(3, 3), normal(4, 3), -1), "rows: expected"),
        (lambda: st_tables.quotient_remainder(normal(3, 3), normal(4, 3), combine="max"), "combine: expected"),
        (lambda: st_tables.quotient_remainder(normal(3, 3), np.zeros((0, 3), np.float32)), "at least one row"),
        (lambda: st_tables.product(normal(9, 6), 4, 3), "divisor of 6 columns, got 4"),
        (lambda: st_tables.product(normal(9, 6), 0, 3), "subspaces: expected a whole number .* got 0"),
        (lambda: st_tables.product(normal(9, 6), 2, 10), "codewords: expected 1 to 9 for 9 rows, got 10"),
        (lambda: st_tables.product(np.full((9, 6), np.nan, np.float32), 2, 3), "weights: expected finite"),
        (lambda: st_tables.residual(np.full((9, 6), 1e20, np.float32), 2, 3), "within 1e\\+15"),
        (
            lambda: st_tables.product(normal(9, 6), None, 3),
            "subspaces: expected a whole number from 1 to 6, got NoneType",
        ),
        (lambda: st_tables.residual(normal(9, 6), 0, 3), "levels: expected"),
        (lambda: st_tables.residual([[1.0], [2.0, 3.0]], 2, 3), "weights: expected float32"),
        (lambda: st_tables.residual(normal(9, 6), 2, 3, seed=-1), "seed: expected"),
        (lambda: st_tables.residual(normal(9, 6), 2, 3, iterations=0), "iterations: expected"),
        (lambda: st_tables.residual(normal(9, 6), 2, 3, keys=[1, 2]), r"keys: expected shape \(9,\)"),
        (lambda: st_tables.residual(normal(3, 6), 2, 3, keys=[1, 2, 1]), "every key once"),
        (lambda: st_tables.residual(normal(9, 6), 2, 3, missing="row:9"), "missing: expected"),
        (lambda: st_tables.from_codes([normal(3, 2)], [[0], [3]]), "codes below 3 in column 0, got 3"),
        (lambda: st_tables.from_codes([normal(3, 2)], [[0], [-1]]), "codes: expected 0 to 65535"),
        (lambda: st_tables.from_codes([normal(3, 2)], [[0, 1]]), r"shape \(n, 1\), one column a codebook"),
        (lambda: st_tables.from_codes([normal(3, 2)], [0.5]), "codes: expected integers"),
        (lambda: st_tables.from_codes([], np.zeros((2, 0), int)), "parts: expected 1 to 2"),
        (lambda: st_tables.pruned(normal(3, 2), [0, 3]), "remap: expected -1 to 2, got 0 to 3"),
        (lambda: st_tables.pruned(normal(3, 2), [0, -2]), "remap: expected -1 to 2, got -2 to 0"),
        (lambda: st_tables.pruned(normal(3, 2), [[0]]), "remap: expected shape"),
        (lambda: st_tables.pruned(normal(3, 2), [0], missing="row:1"), "missing: expected"),
        (lambda: st_tables.mixed([]), "at least one table"),
        (lambda: st_tables.mixed([st_tables.seeded(3)]), "each with a number of rows"),
        (lambda: st_tables.seeded(0), "dim: expected 1 to 2"),
        (lambda: st_tables.seeded(3, deviation=float("inf")), "deviation: expected a finite number above 0"),
        (lambda: st_tables.seeded(3, deviation=-1.0), "deviation: expected"),
        (lambda: st_tables.seeded(3, distribution="cauchy"), "distribution: expected"),
        (lambda: st_tables.seeded(3, missing="mean"), "no policy where every key has a row"),
        (lambda: st_tables.block_shared(normal(30), 6, "u", 4), "a divisor of dim"),
        (lambda: st_tables.block_shared(normal(3), 8, "u", 4), "at least a block of 4, got 3"),
        (lambda: st_tables.block_shared(normal(30), 8, "u", 4, dtype="i8"), "dtype: expected one of f32, f16, bf16"),
        (lambda: st_tables.block_shared(np.full(30, 1e6, np.float32), 8, "u", 4), "range of f16"),
        (lambda: st_tables.composed([Pick(EmbeddingTable.from_dense(normal(3, 3)), "row")]), "rows: expected a number"),
        (lambda: st_tables.composed([Pick(EmbeddingTable.from_dense(normal(3, 3)), "next")], rows=3), "rule: expected"),
        (lambda: st_tables.hash_rows([1], 1, 0), "rows: expected a number above 0"),
        (lambda: st_tables.hash_rows([1], -1, 1), "salt: expected"),
    ],
)
def test_refused(make, message):
    with pytest.raises(sb.ArgumentError, match=message):
        make()


def test_foreign_recipes():
    tensors, meta = build("product codes")[0]._tensors()
    recipe = meta["recipe"]
    for wrong in (
        "",
        "[]",
        "{}",
        recipe.replace('"composed"', '"seeded"'),
        recipe.replace('"composed"', '"other"'),
        recipe.replace('"concat"', '"stack"'),
        recipe.replace('"rows": 60', '"rows": 61'),
        recipe.replace('"rows": 60', '"rows": -1'),
        recipe.replace('"rows": 60', '"rows": "x"'),
        recipe.replace('"rows": 60', '"rows": null'),
        recipe.replace('[0, "codes", 0]', '[7, "codes", 0]'),
        recipe.replace('[0, "codes", 0]', '[0, "codes", 9]'),
        recipe.replace('[0, "codes", 0]', '[0, "row", 0]'),
        recipe.replace('"dim": "4"', '"dim": "5"'),
    ):
        assert wrong != recipe
        with pytest.raises(sb.FormatError):
            EmbeddingTable._from_tensors(tensors, {**meta, "recipe": wrong})
    with pytest.raises(sb.FormatError, match="codes below 9"):
        EmbeddingTable._from_tensors({**tensors, "codes": tensors["codes"] + 9}, meta)
    for name in tensors:
        with pytest.raises(sb.FormatError):
            EmbeddingTable._from_tensors({key: value for key, value in tensors.items() if key != name}, meta)
