"""The dictionary example, on a fiftieth of the dictionary."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

pytestmark = pytest.mark.once

EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "dictionary.py"
WANTED = {"claustrophobia": "fear of small spaces", "plutocracy": "government by the rich"}


@pytest.fixture
def example() -> ModuleType:
    spec = importlib.util.spec_from_file_location("dictionary_example", EXAMPLE)
    assert spec and spec.loader  # noqa: PT018
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_descriptions_find_their_words(
    example: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    entries = example.read_entries()
    assert len(entries) == len({entry["id"] for entry in entries}) == 117_659
    kept = entries[::50] + [entry for entry in entries if WANTED.keys() & set(entry["lemmas"])]
    kept = list({entry["id"]: entry for entry in kept}.values())
    monkeypatch.setattr(example, "read_entries", lambda: kept)
    example.main(list(WANTED.values()))
    printed = capsys.readouterr().out
    assert f"{len(kept):,} entries" in printed
    for word, description in WANTED.items():
        answers = printed.split(description)[1].split("\n\n")[0]
        assert word in answers
