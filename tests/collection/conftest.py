from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from twin import HashEncoder, TwinIndex

from semblance.collection import Collection, live


@pytest.fixture
def twin_index(monkeypatch: pytest.MonkeyPatch) -> None:
    """Put the slow twin in place of the index, for tests that make it fail."""
    monkeypatch.setattr(live, "index_class", lambda: TwinIndex)


@pytest.fixture
def open_db(tmp_path: Path) -> Iterator[Callable[..., Collection]]:
    """Open collections at ``tmp_path/items.db`` with the hashing encoder, closed at the end."""
    opened: list[Collection] = []

    def open_(name: str = "items.db", **arguments: Any) -> Collection:
        if "dim" not in arguments:
            arguments.setdefault("encoder", HashEncoder())
        opened.append(Collection.open(tmp_path / name, **arguments))
        return opened[-1]

    yield open_
    for db in opened:
        db.close()


@pytest.fixture
def films() -> list[dict[str, Any]]:
    return [
        {
            "id": "tt1",
            "text": "a ship sinks in the cold sea",
            "year": 1997,
            "genre": "drama",
            "genres": ["drama", "sea"],
        },
        {"id": "tt2", "text": "dinosaurs escape in a park", "year": 1993, "genre": "adventure", "genres": ["sea"]},
        {"id": "tt3", "text": "a cold killer and a young agent", "year": 1991, "genre": "crime", "rating": 8.6},
        {
            "id": "tt4",
            "text": "the sea and the old man",
            "year": 1958,
            "genre": "drama",
            "director": {"name": "Sturges"},
        },
        {"id": 5, "text": "lions in the park", "year": None, "genre": "drama", "seen": True, "odd name": "x y"},
    ]
