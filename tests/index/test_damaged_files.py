"""Damaged and crafted files: a FormatError, or an index that answers; never a crash."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from brute_force import same_index, sample

import semblance as sb
from semblance import storage

pytestmark = pytest.mark.once

D, N = 16, 120
Tensors = dict[str, np.ndarray]
Metadata = dict[str, str]


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> Path:
    index = sb.Index(D, metric="l2", codes="i8", max_degree=8, ef_construction=30)
    index.add(sample("l2", N, D))
    index.remove([7])
    path = tmp_path_factory.mktemp("good") / "a.sb"
    index.save(path)
    return path


def use(index: sb.Index) -> None:
    """Whatever a user may do with it."""
    rows = sample(index.metric, 20, index.dim, seed=1)
    index.search(rows, 5)
    index.search(rows, 30, ef=200, allowed=index.ids()[::2])
    index.search(rows, 5, exact=True)
    index.within(rows, 1e6)
    index.get(index.ids())
    index.stats()
    index.check()
    index.add(rows)
    index.search(rows, 5)
    index.remove(index.ids()[:5])
    index.compact()
    index.search(rows, 5)


def test_bytes_changed_anywhere_are_noticed(good: Path, tmp_path: Path) -> None:
    content, path = good.read_bytes(), tmp_path / "a.sb"
    rng = np.random.default_rng(0)
    for at in np.unique(np.concatenate([np.arange(0, 400, 7), rng.integers(len(content), size=250)])):
        damaged = bytearray(content)
        damaged[at] ^= 1 << int(rng.integers(8))
        path.write_bytes(damaged)
        with pytest.raises(sb.FormatError, match=r"a\.sb"):
            sb.Index.load(path, mmap=bool(at % 2))


def test_files_cut_anywhere_are_noticed(good: Path, tmp_path: Path) -> None:
    content, path = good.read_bytes(), tmp_path / "a.sb"
    for length in [0, 1, 7, 8, 63, 64, *range(100, len(content), 331), len(content) - 1]:
        path.write_bytes(content[:length])
        for verify in (True, False):
            with pytest.raises(sb.FormatError):
                sb.Index.load(path, verify=verify)
    path.write_bytes(content + b"\0" * 64)
    with pytest.raises(sb.FormatError):
        sb.Index.load(path)


UNVERIFIED = """
import sys, numpy as np, semblance as sb
sys.path.insert(0, sys.argv[2])
from test_damaged_files import use
content = open(sys.argv[1], "rb").read()
rng = np.random.default_rng(3)
start = 8 + int.from_bytes(content[:8], "little")
loaded = 0
for turn in range(120):
    damaged = bytearray(content)
    for at in rng.integers(start, len(content), size=int(rng.integers(1, 40))):
        damaged[at] = int(rng.choice([0, 255, 127, 128, int(rng.integers(256))]))
    open(sys.argv[1] + "x", "wb").write(damaged)
    try:
        index = sb.Index.load(sys.argv[1] + "x", verify=False, mmap=bool(turn % 2))
    except sb.FormatError:
        continue
    loaded += 1
    try:
        use(index)
    except (sb.Error, MemoryError):
        pass
print("alive", loaded)
"""


def test_unverified_damage_never_crashes(good: Path, tmp_path: Path) -> None:
    """verify=False skips checksums only: structure is still checked."""
    path = tmp_path / "a.sb"
    path.write_bytes(good.read_bytes())
    command = [sys.executable, "-c", UNVERIFIED, str(path), str(Path(__file__).parent)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.startswith("alive")


def test_missing_foreign_and_newer(good: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").touch()
    (tmp_path / "text").write_text("not an index\n" * 100)
    for path in (
        tmp_path / "nowhere.sb",
        tmp_path / "no" / "where.sb",
        tmp_path / "empty",
        tmp_path / "text",
        tmp_path,
    ):
        for mmap in (False, True):
            with pytest.raises(sb.FormatError, match=r"expected .*, got "):
                sb.Index.load(path, mmap=mmap)
    newer = good.read_bytes().replace(b'"format_version":"1"', b'"format_version":"2"')
    assert newer != good.read_bytes()
    (tmp_path / "newer").write_bytes(newer)
    with pytest.raises(sb.FormatError):
        sb.Index.load(tmp_path / "newer")


@pytest.mark.parametrize("kind", ["table", "", None, "INDEX"])
def test_a_file_of_another_kind(good: Path, tmp_path: Path, kind: str | None) -> None:
    tensors, metadata = storage.read(good)
    metadata = {key: value for key, value in metadata.items() if key != "kind"}
    storage.write(tmp_path / "a.sb", tensors, metadata if kind is None else {**metadata, "kind": kind})
    with pytest.raises(sb.FormatError, match=r"a\.sb: expected a file of kind 'index', got"):
        sb.Index.load(tmp_path / "a.sb")


def replaced(name: str, change: Callable[[np.ndarray], np.ndarray]) -> Callable[[Tensors, Metadata], None]:
    def craft(tensors: Tensors, metadata: Metadata) -> None:
        tensors[name] = np.array(change(tensors[name].copy()), order="C")

    return craft


def put(name: str, at: object, value: float) -> Callable[[Tensors, Metadata], None]:
    def change(array: np.ndarray) -> np.ndarray:
        array[at] = value
        return array

    return replaced(name, change)


def parameter(key: str, value: str | None) -> Callable[[Tensors, Metadata], None]:
    def craft(tensors: Tensors, metadata: Metadata) -> None:
        if value is None:
            del metadata[key]
        else:
            metadata[key] = value

    return craft


def dropped(name: str) -> Callable[[Tensors, Metadata], None]:
    def craft(tensors: Tensors, metadata: Metadata) -> None:
        del tensors[name]

    return craft


def swapped(one: str, other: str) -> Callable[[Tensors, Metadata], None]:
    def craft(tensors: Tensors, metadata: Metadata) -> None:
        tensors[one], tensors[other] = tensors[other], tensors[one]

    return craft


TENSORS = ("codes", "rerank", "ids", "live", "graph.links", "graph.levels", "graph.upper", "graph.entry")
BROKEN: dict[str, Callable[[Tensors, Metadata], None]] = {
    "link to the first row that is not there": put("graph.links", (3, 0), N),
    "link far out of range": put("graph.links", (3, 0), 2**31),
    "link just below the mark": put("graph.links", (0, 0), 2**32 - 2),
    "upper link out of range": put("graph.upper", (0, 0), N),
    "upper link to a row without that level": lambda t, m: put(
        "graph.upper", (0, 0), int(np.flatnonzero(t["graph.levels"] == 0)[0]))(t, m),
    "level beyond the lists": put("graph.levels", 0, 200),
    "level at the limit": put("graph.levels", 0, 31),
    "one level more": lambda t, m: put("graph.levels", 5, t["graph.levels"][5] + 1)(t, m),
    "no levels": put("graph.levels", slice(None), 0),
    "entry out of range": put("graph.entry", 0, N),
    "no entry": put("graph.entry", 0, 2**32 - 1),
    "two entries": replaced("graph.entry", lambda a: np.repeat(a, 2)),
    "id twice": put("ids", 1, 0),
    "negative id": put("ids", 1, -1),
    "smallest id": put("ids", 1, -(2**63)),
    "ids of floats": replaced("ids", lambda a: a.astype(np.float64)),
    "ids of other width": replaced("ids", lambda a: a.astype(np.int32)),
    "ids in a matrix": replaced("ids", lambda a: a[:, None]),
    "id too few": replaced("ids", lambda a: a[:-1]),
    "id too many": replaced("ids", lambda a: np.append(a, 500)),
    "no ids": replaced("ids", lambda a: a[:0]),
    "row too few": replaced("codes", lambda a: a[:-1]),
    "row too many": replaced("codes", lambda a: np.concatenate([a, a[:1]])),
    "rows too short": replaced("codes", lambda a: a[:, :-1]),
    "rows of other type": replaced("codes", lambda a: a.astype(np.float32)),
    "rows flat": replaced("codes", lambda a: a.reshape(-1)),
    "finer row too few": replaced("rerank", lambda a: a[:-1]),
    "finer rows too short": replaced("rerank", lambda a: a[:, :-1]),
    "finer rows of other type": replaced("rerank", lambda a: a.astype(np.float64)),
    "live too short": replaced("live", lambda a: a[:-1]),
    "live too long": replaced("live", lambda a: np.append(a, a)),
    "live of other type": replaced("live", lambda a: a.view(np.int64)),
    "lists too short": replaced("graph.links", lambda a: a[:, :-1]),
    "list too few": replaced("graph.links", lambda a: a[:-1]),
    "levels too few": replaced("graph.levels", lambda a: a[:-1]),
    "upper list too few": replaced("graph.upper", lambda a: a[:-1]),
    "upper list too many": replaced("graph.upper", lambda a: np.concatenate([a, a])),
    "upper of other type": replaced("graph.upper", lambda a: a.view(np.int32)),
    "codes and finer swapped": swapped("codes", "rerank"),
    "links and upper swapped": swapped("graph.links", "graph.upper"),
    "levels and live swapped": swapped("graph.levels", "live"),
    **{f"without {name}": dropped(name) for name in TENSORS},
    **{f"{name} a scalar": replaced(name, lambda a: a.reshape(-1)[0].reshape(())) for name in TENSORS},
    **{f"without parameter {key}": parameter(f"index.{key}", None) for key in
       ("d", "metric", "kind", "codes", "rerank", "max_degree", "ef_construction", "seed", "ef")},
    "more dimensions than rows have": parameter("index.d", "65536"),
    "fewer dimensions": parameter("index.d", "8"),
    "dimensions beyond the limit": parameter("index.d", str(10**12)),
    "no dimensions": parameter("index.d", "0"),
    "dimensions in words": parameter("index.d", "sixteen"),
    "dimensions beyond any number": parameter("index.d", "9" * 5000),
    "other metric": parameter("index.metric", "hamming"),
    "unknown metric": parameter("index.metric", "manhattan"),
    "unknown kind": parameter("index.kind", "tree"),
    "other codes": parameter("index.codes", "f32"),
    "unknown codes": parameter("index.codes", "i9"),
    "no finer copy said": parameter("index.rerank", "f16"),
    "huge degree": parameter("index.max_degree", str(10**9)),
    "largest degree": parameter("index.max_degree", "256"),
    "smaller degree": parameter("index.max_degree", "5"),
    "no degree": parameter("index.max_degree", "0"),
    "negative degree": parameter("index.max_degree", "-6"),
    "huge ef_construction": parameter("index.ef_construction", str(10**18)),
    "negative seed": parameter("index.seed", "-1"),
    "huge seed": parameter("index.seed", str(2**64)),
    "no ef": parameter("index.ef", "0"),
    "huge ef": parameter("index.ef", str(10**12)),
    "unknown parameter": parameter("index.colour", "red"),
    "ef_construction below the degree": parameter("index.ef_construction", "5"),
}  # fmt: skip


@pytest.mark.parametrize("name", BROKEN)
@pytest.mark.parametrize("mmap", [False, True])
def test_crafted_with_right_checksums(good: Path, tmp_path: Path, name: str, mmap: bool) -> None:
    tensors, metadata = storage.read(good)
    BROKEN[name](tensors, metadata)
    storage.write(tmp_path / "a.sb", tensors, metadata)
    for verify in (True, False):
        with pytest.raises(sb.FormatError) as caught:
            sb.Index.load(tmp_path / "a.sb", mmap=mmap, verify=verify)
        assert "a.sb: " in str(caught.value)
        assert "expected" in str(caught.value)


ODD: dict[str, Callable[[Tensors, Metadata], None]] = {
    "finer rows under another type of the same bytes": replaced("rerank", lambda a: a.view(np.uint16)),
    "codes of noise": replaced("codes", lambda a: np.random.default_rng(0).integers(0, 256, a.shape, np.uint8)),
    "codes of ones": replaced("codes", lambda a: np.full_like(a, 255)),
    "finer rows of NaN": put("rerank", slice(None), np.nan),
    "some finer rows of NaN": put("rerank", slice(0, None, 3), np.nan),
    "finer rows of infinity": put("rerank", slice(0, None, 2), np.inf),
    "no links": put("graph.links", slice(None), 2**32 - 1),
    "no upper links": put("graph.upper", slice(None), 2**32 - 1),
    "links to one's self": replaced("graph.links", lambda a: np.indices(a.shape, a.dtype)[0]),
    "all links to one row": put("graph.links", slice(None), 5),
    "a gap in a list": put("graph.links", (slice(None), 1), 2**32 - 1),
    "entry on the base level": lambda t, m: put("graph.entry", 0, int(np.flatnonzero(t["graph.levels"] == 0)[0]))(t, m),
    "nothing live": put("live", slice(None), 0),
    "live beyond the rows": put("live", slice(None), 2**64 - 1),
    "largest ids": replaced("ids", lambda a: a + (2**63 - 1 - N)),
}

ODD_SCRIPT = """
import sys, semblance as sb
sys.path.insert(0, sys.argv[2])
from test_damaged_files import use
for mmap in (False, True):
    try:
        use(sb.Index.load(sys.argv[1], mmap=mmap))
    except sb.Error as error:
        print(type(error).__name__, error)
print("alive")
"""


@pytest.mark.parametrize("name", ODD)
def test_odd_content_of_the_right_form(good: Path, tmp_path: Path, name: str) -> None:
    """Values that no writer makes: refused, or searched without a crash, a hang or an id that is not there."""
    tensors, metadata = storage.read(good)
    ODD[name](tensors, metadata)
    storage.write(tmp_path / "a.sb", tensors, metadata)
    command = [sys.executable, "-c", ODD_SCRIPT, str(tmp_path / "a.sb"), str(Path(__file__).parent)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr[-1000:]
    assert done.stdout.endswith("alive\n")


def test_crafting_itself_is_right(good: Path, tmp_path: Path) -> None:
    """What is read and written again unchanged is the same index: the tests above fail for what they changed."""
    storage.write(tmp_path / "a.sb", *storage.read(good))
    again = sb.Index.load(tmp_path / "a.sb")
    assert same_index(again, sb.Index.load(good), sample("l2", 20, D, seed=1))
    use(again)
