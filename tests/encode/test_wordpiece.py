"""The native WordPiece gives the ids of the ``tokenizers`` library, or leaves the file to it."""

from __future__ import annotations

import csv
import gzip
import json
import os
import signal
import unicodedata
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tokenizers
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tiny_models import VOCABULARY, tokenizer_json, write_folder

import semblance as sb
from semblance.encode import static
from semblance.encode.tokenize import Tokenizer
from semblance.encode.wordpiece import WordPiece

pytestmark = pytest.mark.once

EVERYTHING = 1 << 40
SWITCHES = [
    {"clean_text": clean, "handle_chinese_chars": chinese, "strip_accents": strip, "lowercase": lower}
    for clean in (True, False)
    for chinese in (True, False)
    for strip in (None, True, False)
    for lower in (True, False)
]
Definition = dict[str, Any]
Edit = Callable[[Definition], object]


def library(definition: str) -> tokenizers.Tokenizer:
    made = tokenizers.Tokenizer.from_str(definition)
    made.no_padding()
    made.no_truncation()
    return made


def native(definition: str) -> WordPiece:
    found = WordPiece.of(definition)
    assert found is not None
    return found


def ids_of(reference: tokenizers.Tokenizer, texts: list[str]) -> list[list[int]]:
    return [row.ids for row in reference.encode_batch_fast(texts, add_special_tokens=False)]


def assert_same(definition: str, texts: list[str]) -> None:
    reference, own = library(definition), native(definition)
    for start in range(0, len(texts), 4096):
        window = texts[start : start + 4096]
        expected, found = ids_of(reference, window), own.ids(window, EVERYTHING, EVERYTHING)
        wrong = [i for i, row in enumerate(found) if row != expected[i]]
        assert not wrong, ascii(window[wrong[0]])


def telling(steps: dict[str, bool | None]) -> str:
    """The embedded vocabulary and a piece for each of many code points, so that ids tell what was done to a text."""
    parts = json.loads(static.default_model().tokenizer.definition)
    parts["normalizer"].update(steps)
    vocabulary = parts["model"]["vocab"]
    for point in (*range(0x3400), *range(0x1D100, 0x1D200), *range(0x1F600, 0x1F650)):
        for piece in (chr(point), "##" + chr(point)):
            vocabulary.setdefault(piece, len(vocabulary))
    return json.dumps(parts, ensure_ascii=False)


@pytest.fixture(scope="module")
def definitions() -> list[str]:
    return [telling(steps) for steps in SWITCHES]


# -- the library's ids


def test_every_code_point_is_treated_as_the_library_treats_it() -> None:
    """All of the first two planes, every 61st of the others. Unassigned ones may change with the library's version."""
    points = [*range(0x20000), *range(0x20000, 0x110000, 61)]
    known = [chr(p) for p in points if not 0xD800 <= p < 0xE000 and unicodedata.category(chr(p)) != "Cn"]
    for steps in (SWITCHES[0], SWITCHES[5], SWITCHES[-1]):
        words = [f"a{point}b{point}" for point in known]
        assert_same(telling(steps), [" ".join(words[start : start + 40]) for start in range(0, len(words), 40)])


PIECES = st.one_of(
    st.text(min_size=1, max_size=6),
    st.text(st.characters(categories=("Mn", "Mc", "Me")), min_size=1, max_size=6),
    st.text(st.characters(categories=("Cc", "Cf", "Zs", "Zl", "Zp")), min_size=1, max_size=3),
    st.text(st.characters(min_codepoint=0xC0, max_codepoint=0x250), min_size=1, max_size=8),
    st.text(st.characters(min_codepoint=0x4E00, max_codepoint=0x9FFF), min_size=1, max_size=3),
    st.text(st.characters(min_codepoint=0xAC00, max_codepoint=0xD7A3), min_size=1, max_size=3),
    st.text(st.sampled_from("\u0300\u0334\u0345\u0488\u08d4\u1b44\u302e\u302f\U0001d165\U0001d16d"), max_size=6),
    st.sampled_from(
        ["[CLS]", "[SEP]", "[UNK]", "[PAD]", "[MASK]", "[cls]", "[CLS", "##ing", "##", "unrunning", "don't", "3.14"]
        + ["x" * n for n in (99, 100, 101)] + ["É" * n for n in (99, 100, 101)]
        + ["\u0130", "\u1e9e", "\u212b", "\u1e9b\u0323", "\uf900", "\U0002f800", "\ufffd", "\0", "e\u0301", "각"]
    ),
)  # fmt: skip


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(texts=st.lists(st.lists(PIECES, max_size=8), min_size=1, max_size=8), glue=st.sampled_from(["", " ", "\n"]))
def test_any_text_has_the_library_s_ids(definitions: list[str], texts: list[list[str]], glue: str) -> None:
    joined = [glue.join(pieces) for pieces in texts]
    for number, definition in enumerate(definitions):
        if number % 8 == len(joined) % 8:  # each text meets three of the 24 combinations
            assert _cached(definition)[1].ids(joined, EVERYTHING, EVERYTHING) == ids_of(_cached(definition)[0], joined)


_made: dict[int, tuple[tokenizers.Tokenizer, WordPiece]] = {}


def _cached(definition: str) -> tuple[tokenizers.Tokenizer, WordPiece]:
    key = hash(definition)
    if key not in _made:
        _made[key] = (library(definition), native(definition))
    return _made[key]


def data_texts(data: Path) -> Iterator[str]:
    """Dictionary entries and their words, abstracts, sentence pairs, single words."""
    with gzip.open(data / "glosses/glosses.jsonl.gz", "rt", encoding="utf-8") as file:
        for row in map(json.loads, file):
            yield from (row["text"], " ".join(row["lemmas"]))
    with gzip.open(data / "scifact/corpus.jsonl.gz", "rt", encoding="utf-8") as file:
        for row in map(json.loads, file):
            yield from (row["title"], row["text"])
    yield from (data / "glove25/words.txt").read_text(encoding="utf-8").split("\n")
    for path in sorted((data / "local/stsb").glob("*.csv")):
        with path.open(encoding="utf-8", newline="") as file:
            for fields in csv.reader(file):
                yield from fields


@pytest.mark.data
@pytest.mark.skipif("SEMBLANCE_DATA" not in os.environ, reason="SEMBLANCE_DATA is not set")
def test_real_texts_have_the_library_s_ids() -> None:
    texts = list(data_texts(Path(os.environ["SEMBLANCE_DATA"])))
    assert len(texts) > 200_000
    assert_same(static.default_model().tokenizer.definition, texts[::4])


# -- vectors


def test_vectors_are_the_library_s_to_the_last_bit(monkeypatch: pytest.MonkeyPatch) -> None:
    texts = ["a small dog", "", "naïve café [CLS] 中文", "\ud800 lone", "x" * 5000, "word " * 3000, "\u200b"]
    own = sb.Encoder().encode(texts, normalize=False)
    monkeypatch.setattr(WordPiece, "of", lambda definition: None)
    model = static.StaticModel.load(static.DEFAULT_FILE)
    assert model.tokenizer.wordpiece is None
    assert np.array_equal(next(model.encode_windows([texts])), own)


def test_threads_change_nothing() -> None:
    model = static.default_model()
    own = native(model.tokenizer.definition)
    texts = [f"text number {i} of a thousand, naïve" * (i % 7) for i in range(1000)]
    table = model.table._generation.native
    made = []
    for threads in (1, 2, 5):
        out = np.empty((len(texts), model.dim), np.float32)
        own.native.pool(table, texts, 512, 33_000, model.empty_id, out, threads)
        values, offsets = own.native.ids(texts, 512, 33_000, threads)
        made.append((out, values, offsets))
    for other in made[1:]:
        assert all(np.array_equal(a, b) for a, b in zip(made[0], other, strict=True))


def test_ctrl_c_is_heard() -> None:
    own = native(tokenizer_json()).native
    texts = ["the small cat runs . " * 10] * 1_000_000
    before = signal.signal(signal.SIGALRM, signal.default_int_handler)
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.05)
        with pytest.raises(KeyboardInterrupt):
            own.ids(texts, 512, 33_000, 1)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


# -- what is left to the library

BEFORE = {"[CLS]": 2, "[SEP]": 3}


@pytest.mark.parametrize(
    "edit",
    [
        lambda p: p.update(version="2.0"),
        lambda p: p.update(new_entry=None),
        lambda p: p.update(normalizer=None),
        lambda p: p["normalizer"].update(type="Lowercase"),
        lambda p: p["normalizer"].update(lowercase=1),
        lambda p: p["normalizer"].update(new_step=True),
        lambda p: p["normalizer"].pop("clean_text"),
        lambda p: p.update(normalizer={"type": "Sequence", "normalizers": [p["normalizer"]]}),
        lambda p: p.update(pre_tokenizer={"type": "Whitespace"}),
        lambda p: p.update(pre_tokenizer=None),
        lambda p: p["model"].update(type="BPE"),
        lambda p: p["model"].update(max_input_chars_per_word=5000),
        lambda p: p["model"].update(unk_token="[nothing]"),
        lambda p: p["model"].update(new_option=1),
        lambda p: p["model"]["vocab"].update(cat=-1),
        lambda p: p["model"]["vocab"].update(cat=5.0),
        lambda p: p["model"]["vocab"].update(cat=True),
        lambda p: p["model"]["vocab"].update(cat=VOCABULARY["dog"]),
        lambda p: p["model"]["vocab"].update({"\ud800": 99}),
        lambda p: p.update(model=[]),
        lambda p: p["added_tokens"][0].update(normalized=True),
        lambda p: p["added_tokens"][0].update(lstrip=True),
        lambda p: p["added_tokens"][0].update(single_word=True),
        lambda p: p["added_tokens"][0].update(id=7),
        lambda p: p["added_tokens"].append({**p["added_tokens"][0], "content": "new", "id": len(VOCABULARY)}),
        lambda p: p["added_tokens"].append(3),
        lambda p: p.update(post_processor={"type": "RobertaProcessing", **BEFORE}),
        lambda p: p["post_processor"]["single"].append({"Sequence": {"id": "A", "type_id": 0}}),
        lambda p: p["post_processor"]["single"].append({"SpecialToken": {"id": "[gone]", "type_id": 0}}),
        lambda p: p.update(padding={"pad_id": "x"}),
    ],
)  # fmt: skip
def test_what_is_not_known_exactly_is_refused(edit: Edit) -> None:
    parts = json.loads(tokenizer_json())
    assert WordPiece.of(json.dumps(parts)) is not None
    edit(parts)
    assert WordPiece.of(json.dumps(parts)) is None


@pytest.mark.parametrize("text", ["", "{}", "[]", "null", "{", "[" * 100_000, '{"version": "1.0", "version": "1.0"}'])
def test_other_json_is_refused(text: str) -> None:
    assert WordPiece.of(text) is None
    with pytest.raises(sb.FormatError, match="expected a tokenizer"):
        Tokenizer(text)


def test_another_kind_of_tokenizer_still_works(tmp_path: Path) -> None:
    """The same words by the library: an option that native code does not know, and that changes nothing here."""
    folder = write_folder(tmp_path / "model")
    parts = json.loads(tokenizer_json())
    own = sb.Encoder(folder, device="cpu")
    parts["normalizer"] = {"type": "Sequence", "normalizers": [parts["normalizer"]]}
    other_folder = write_folder(tmp_path / "other")
    (other_folder / "tokenizer.json").write_text(json.dumps(parts), encoding="utf-8")
    other = sb.Encoder(other_folder, device="cpu")
    texts = ["the cat runs.", "", "unruns [SEP] \ud800 DOG", "a " * 900]
    assert own._model.tokenizer.wordpiece is not None  # type: ignore[attr-defined]
    assert other._model.tokenizer.wordpiece is None  # type: ignore[attr-defined]
    assert other.tokens(texts) == own.tokens(texts)
    assert np.array_equal(other.encode(texts), own.encode(texts))


@pytest.mark.parametrize(
    "processor",
    [
        None,
        {"type": "BertProcessing", "sep": ["[SEP]", 3], "cls": ["[CLS]", 2]},
        json.loads(tokenizer_json())["post_processor"],
    ],
)
def test_special_ids_are_those_of_the_post_processor(processor: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    definition = json.dumps({**json.loads(tokenizer_json()), "post_processor": processor})
    own = Tokenizer(definition)
    assert own.wordpiece is not None
    monkeypatch.setattr(WordPiece, "of", lambda definition: None)
    other = Tokenizer(definition)
    assert (own.prefix, own.suffix, own.size, own.pad_id) == (other.prefix, other.suffix, other.size, other.pad_id)
    assert own.words([[0, 5, 99]]) == other.words([[0, 5, 99]])
    assert [own.id_of(token) for token in ("cat", "no")] == [other.id_of(token) for token in ("cat", "no")]


# -- bad input at the native door


def test_items_that_are_no_str_are_refused() -> None:
    own = native(tokenizer_json()).native
    for texts in (["a", 7], [b"a"], [None], ("a", ["b"])):
        with pytest.raises(sb.ArgumentError, match="texts: expected str items, got"):
            own.ids(texts, 5, 500, 1)  # type: ignore[arg-type]


def test_a_table_too_small_for_the_ids_is_refused() -> None:
    own = native(tokenizer_json())
    table = sb.EmbeddingTable.from_dense(np.ones((7, 3), np.float32), dtype="f32")
    assert own.pool(table, ["cat"], 5, 500, 0).tolist() == [[1, 1, 1]]
    with pytest.raises(sb.ArgumentError, match="keys: expected row numbers from 0 to 7"):
        own.pool(table, ["small"], 5, 500, 0)
    for shape, kind in (((1, 3), np.float64), ((2, 3), np.float32), ((1, 4), np.float32)):
        with pytest.raises(sb.ArgumentError, match="out"):
            own.native.pool(table._generation.native, ["cat"], 5, 500, 0, np.empty(shape, kind), 1)
