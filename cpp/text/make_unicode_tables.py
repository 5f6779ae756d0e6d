"""Writes unicode_tables.inc: what BERT's normaliser and pre-tokenizer do to every code point.

    python cpp/text/make_unicode_tables.py > cpp/text/unicode_tables.inc

The truth is the behaviour of the installed ``tokenizers`` library, asked about every code point: it mixes tables of
several Unicode versions (0.23.3: categories of Unicode 8, decompositions of Unicode 9, lower case of Unicode 17), so no
single version of the standard would give its ids. What differs from Python's ``unicodedata`` is counted on stderr. Only
the canonical combining classes, which the library does not tell, come from ``unicodedata``; the order that they give
to every pair of marks that survive is checked against the library.
"""

from __future__ import annotations

import sys
import unicodedata
from collections.abc import Callable, Iterator
from itertools import product

import tokenizers
from tokenizers.normalizers import NFD, BertNormalizer
from tokenizers.pre_tokenizers import BertPreTokenizer

CONTROL, SPACE, PUNCTUATION, CHINESE, STRIPPED, LOWERED, REMOVED, NONSTARTER = (1 << bit for bit in range(8))
HANGUL = range(0xAC00, 0xD7A4)  # decomposed by arithmetic
DOTTED_I = 0x130  # the one code point whose lower case is two
CODE_POINTS = [c for c in range(0x110000) if not 0xD800 <= c < 0xE000]
COLUMNS = 160  # wider than the house, so that one file holds them


def step(**chosen: bool) -> Callable[[str], str]:
    """One step of the normaliser alone."""
    steps = {"clean_text": False, "handle_chinese_chars": False, "strip_accents": False, "lowercase": False}
    normalise: Callable[[str], str] = BertNormalizer(**{**steps, **chosen}).normalize_str
    return normalise


def flags_of_all() -> tuple[list[int], dict[int, str], dict[int, int]]:
    """Flags of every code point, and where it has one its stripped form and its lower case."""
    clean, chinese = step(clean_text=True), step(handle_chinese_chars=True)
    strip, lower = step(strip_accents=True), step(lowercase=True)
    split, nfd = BertPreTokenizer().pre_tokenize_str, NFD().normalize_str
    flags, stripped, lowered = [0] * 0x110000, {}, {}
    for c in CODE_POINTS:
        s = chr(c)
        without, parts, bare, small = clean(s), len(split(f"a{s}b")), strip(s), lower(s)
        assert without in (s, "", " "), hex(c)
        assert chinese(s) in (s, f" {s} "), hex(c)
        found = CONTROL * (without == "") | SPACE * (parts == 2) | PUNCTUATION * (parts == 3)
        found |= CHINESE * (chinese(s) != s) | REMOVED * (bare == "") | LOWERED * (small != s)
        # a mark of class 1 sorts before any other, and a mark of class 230 after nearly any
        moves = nfd(f"a{s}\u0334") == f"a\u0334{nfd(s)}" or nfd(f"a\u0301{s}") == f"a{nfd(s)}\u0301"
        found |= NONSTARTER * (moves or s in "\u0334\u0301")
        if bare not in (s, ""):
            found |= STRIPPED
            stripped[c] = bare
        if small != s and c != DOTTED_I:
            assert len(small) == 1, hex(c)
            lowered[c] = ord(small)
        assert (without == " ") <= (parts == 2), hex(c)
        flags[c] = found
    assert lower(chr(DOTTED_I)) == "i\u0307"
    return flags, stripped, lowered


def hangul(c: int) -> str:
    """The jamo of a syllable (The Unicode Standard, section 3.12)."""
    s = c - 0xAC00
    tail = chr(0x11A7 + s % 28) if s % 28 else ""
    return chr(0x1100 + s // 588) + chr(0x1161 + s % 588 // 28) + tail


def classes(flags: list[int], stripped: dict[int, str]) -> dict[int, int]:
    """Combining classes of the marks that stripping leaves, checked pair by pair."""
    found = {c: unicodedata.combining(chr(c)) for c in CODE_POINTS if flags[c] & NONSTARTER and not flags[c] & REMOVED}
    assert all(found.values()), "a mark that survives has no class"
    assert not set(found) & set(stripped), "a mark that survives decomposes"
    nfd = NFD().normalize_str
    for (a, class_a), (b, class_b) in product(found.items(), repeat=2):
        want = chr(b) + chr(a) if class_b < class_a else chr(a) + chr(b)
        assert nfd("a" + chr(a) + chr(b)) == "a" + want, (hex(a), hex(b))
    return found


def runs(lowered: dict[int, int]) -> Iterator[tuple[int, int, int, int]]:
    """(first, last, stride, delta) of code points whose lower case is that far away."""
    left = sorted(lowered)
    while left:
        first = left[0]
        delta = lowered[first] - first
        best = [first]
        for stride in (1, 2):
            run, at = [first], first + stride
            while at in lowered and lowered[at] - at == delta and at in left:
                run.append(at)
                at += stride
            # a run may not jump over code points of another run: runs are searched by their first code point
            inside = [c for c in left if run[0] <= c <= run[-1] and c not in run]
            if len(run) > len(best) and not inside:
                best = run
        yield best[0], best[-1], (best[1] - best[0] if len(best) > 1 else 1), delta
        left = [c for c in left if c not in set(best)]


def ranges(flags: list[int]) -> Iterator[int]:
    """First code point << 8 | flags, where the flags change."""
    last = None
    for c, found in enumerate(flags):
        if found != last:
            yield c << 8 | found
        last = found


def array(declaration: str, items: list[str]) -> str:
    """A C++ array, in lines."""
    lines, line = [], " "
    for item in items:
        if len(line) + len(item) + 2 > COLUMNS:
            lines.append(line)
            line = " "
        line += f" {item},"
    return "\n".join([f"inline constexpr {declaration}[] = {{", *lines, line, "};"])


def differences(flags: list[int], stripped: dict[int, str], lowered: dict[int, int]) -> dict[str, int]:
    """How many code points unicodedata, taken at its word, would treat in another way."""
    counts = dict.fromkeys(("control", "punctuation", "stripped", "lower case"), 0)
    for c in CODE_POINTS:
        s, category = chr(c), unicodedata.category(chr(c))
        bare = "".join(x for x in unicodedata.normalize("NFD", s) if unicodedata.category(x) != "Mn")
        other = c in (0, 0xFFFD) or (category in ("Cc", "Cf", "Co") and s not in "\t\n\r")
        ascii_punctuation = c < 128 and s.isprintable() and not s.isalnum() and s != " "
        counts["control"] += other != bool(flags[c] & CONTROL)
        counts["punctuation"] += (category[0] == "P" or ascii_punctuation) != bool(flags[c] & PUNCTUATION)
        counts["stripped"] += bare != stripped.get(c, "" if flags[c] & REMOVED else s)
        counts["lower case"] += c != DOTTED_I and s.lower() != chr(lowered.get(c, c))
    return counts


def main() -> None:
    """Print the tables."""
    flags, stripped, lowered = flags_of_all()
    left = classes(flags, stripped)
    print(f"unicodedata {unicodedata.unidata_version}:", differences(flags, stripped, lowered), file=sys.stderr)
    for c in HANGUL:
        assert stripped.pop(c) == hangul(c), hex(c)
    pairs, pool = [], ""
    for c, bare in stripped.items():
        assert len(bare) < 8
        to = ord(bare) if len(bare) == 1 else 1 << 31 | len(pool) << 3 | len(bare)
        pool += bare if len(bare) > 1 else ""
        pairs.append(f"{{0x{c:X}, 0x{to:X}}}")
    sources = f"tokenizers {tokenizers.__version__} and, for combining classes, Unicode {unicodedata.unidata_version}"
    print("// clang-format off")
    print(f"// Made by make_unicode_tables.py from {sources}. Do not edit.")
    print(array("std::uint32_t kFlagRanges", [f"0x{item:X}" for item in ranges(flags)]))
    print(array("Mapping kStrippedForms", pairs))
    print(array("char32_t kStrippedPool", [f"0x{ord(s):X}" for s in pool]))
    print(array("LowerRun kLowerRuns", [f"{{0x{a:X}, 0x{b:X}, {n}, {d}}}" for a, b, n, d in runs(lowered)]))
    print(array("Mapping kCombiningClasses", [f"{{0x{c:X}, {value}}}" for c, value in left.items()]))
    print("// clang-format on")


if __name__ == "__main__":
    main()
