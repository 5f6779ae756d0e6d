"""What a record may be: checked once, on the way in."""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..errors import ArgumentError

RecordId = str | int
MAX_NESTING = 100


@dataclass
class Row:
    """A checked record: ``fields`` is the JSON of all but id, text and vector; ``vector`` is f32 (d,) or still None."""

    id: RecordId
    text: str | None
    fields: str
    vector: np.ndarray | None


def checked_id(value: Any, where: str = "id") -> RecordId:
    """Return a str, or an int of 64 bits; raise ArgumentError otherwise."""
    if isinstance(value, np.integer):
        value = int(value)
    if isinstance(value, str) and value and is_storable(value) and "\0" not in value:
        return str(value)
    if isinstance(value, int) and not isinstance(value, bool) and -(2**63) <= value < 2**63:
        return value
    raise ArgumentError(f"{where}: expected non-empty text or an integer of 64 bits, got {value!r}")


def is_scalar(value: Any) -> bool:
    """Whether it is an array of no dimensions, which has the methods of an iterable and is none."""
    return isinstance(value, np.ndarray) and value.ndim == 0


def checked_ids(values: Any, where: str = "ids") -> list[RecordId]:
    """Return the ids as a list; one id alone is a list of one."""
    if isinstance(values, str | int | np.integer):
        return [checked_id(values, where)]
    if not isinstance(values, Iterable) or isinstance(values, bytes | Mapping) or is_scalar(values):
        raise ArgumentError(f"{where}: expected an id or ids, got {type(values).__name__}")
    return [checked_id(value, f"{where}[{at}]") for at, value in enumerate(values)]


def checked_row(record: Any, where: str, dim: int | None) -> Row:
    """Check one record of the user.

    Parameters
    ----------
    record : mapping
        ``id``, and ``text`` or ``vector`` or both; everything else is the record's own fields, any JSON.
    where : str
        How errors name the record, such as ``records[3]``.
    dim : int or None
        Length that a vector must have.

    Raises
    ------
    ArgumentError
        Not a mapping, no id, neither text nor vector, a vector of another length, numbers that are not finite, fields
        that are not JSON.
    """
    if not isinstance(record, Mapping):
        raise ArgumentError(f"{where}: expected a dict with an id, got {type(record).__name__}")
    if "id" not in record:
        raise ArgumentError(f"{where}: expected an 'id', got only {sorted(map(str, record))[:10]}")
    text, vector = record.get("text"), record.get("vector")
    if text is not None and not (isinstance(text, str) and is_storable(text)):
        raise ArgumentError(f"{where}['text']: expected text, got {type(text).__name__}")
    if text is None and vector is None:
        raise ArgumentError(f"{where}: expected 'text' or 'vector', got only {sorted(map(str, record))[:10]}")
    fields = {name: value for name, value in record.items() if name not in ("id", "text", "vector")}
    return Row(
        checked_id(record["id"], f"{where}['id']"),
        text,
        json.dumps(_json_value(fields, where, 0), ensure_ascii=False, separators=(",", ":")),
        None if vector is None else checked_vectors(vector, f"{where}['vector']", dim, ndim=1),
    )


def checked_vectors(values: Any, where: str, dim: int | None, ndim: int) -> np.ndarray:
    """Return finite f32 of shape (d,) for ``ndim`` 1 or (n, d) for 2; raise ArgumentError otherwise."""
    shape = f"(n, {dim or 'd'})" if ndim == 2 else f"({dim or 'd'},)"
    try:
        array = np.asarray(values)
        numeric = array.dtype.kind == "f" or (array.dtype.kind in "iu" and not isinstance(values, np.ndarray))
    except (ValueError, TypeError):
        raise ArgumentError(f"{where}: expected numbers of shape {shape}, got {type(values).__name__}") from None
    if not numeric or array.ndim != ndim or not array.shape[-1] or (dim is not None and array.shape[-1] != dim):
        raise ArgumentError(f"{where}: expected float32 of shape {shape}, got {array.dtype} of shape {array.shape}")
    with np.errstate(over="ignore"):
        array = np.ascontiguousarray(array, np.float32)
    if not np.isfinite(array).all():
        raise ArgumentError(f"{where}: expected finite numbers, got NaN or infinity")
    return array


def is_storable(text: str) -> bool:
    """Return whether the text has a UTF-8 form, which a lone surrogate has not."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _json_value(value: Any, where: str, depth: int) -> Any:
    """Return the value as JSON keeps it, so that what comes back equals what went in."""
    if isinstance(value, np.generic):
        value = value.item()
    if value is None or (isinstance(value, int) and value.bit_length() <= 1000):  # a double holds its size
        return value
    if isinstance(value, float) and math.isfinite(value):
        return value
    if isinstance(value, str) and is_storable(value):
        return value
    if depth >= MAX_NESTING:
        raise ArgumentError(f"{where}: expected at most {MAX_NESTING} levels of nesting, got more")
    if isinstance(value, list | tuple):
        return [_json_value(item, f"{where}[{at}]", depth + 1) for at, item in enumerate(value)]
    if isinstance(value, Mapping):
        for name in value:
            if not isinstance(name, str) or not is_storable(name):
                raise ArgumentError(f"{where}: expected text as field names, got {name!r}")
        return {name: _json_value(item, f"{where}[{name!r}]", depth + 1) for name, item in value.items()}
    raise ArgumentError(f"{where}: expected JSON (None, bool, finite number, text, list, dict), got {value!r:.80}")


def check_distinct(rows: Sequence[Row]) -> None:
    """Refuse an id that comes twice."""
    seen: set[tuple[type, RecordId]] = set()
    for row in rows:
        if (type(row.id), row.id) in seen:
            raise ArgumentError(f"records: expected distinct ids, got {row.id!r} twice")
        seen.add((type(row.id), row.id))


def check_new(existing: Mapping[RecordId, int]) -> None:
    """Refuse ids that exist."""
    if existing:
        raise ArgumentError(f"records: expected new ids, got {some_ids(existing)} (upsert replaces)")


def check_direction(row: Row, metric: str, where: str) -> None:
    """Refuse a zero vector under cosine, as the index would, naming the record."""
    if metric == "cosine" and row.vector is not None and not row.vector.any():
        raise ArgumentError(f"{where}: expected a vector that is not zero under cosine, got zeros ({row.id!r})")


def missing_ids(wanted: Iterable[RecordId], existing: Mapping[RecordId, int]) -> str:
    """Name the ids that do not exist."""
    return some_ids([record_id for record_id in wanted if record_id not in existing])


def some_ids(ids: Iterable[RecordId]) -> str:
    """Name the first few."""
    listed: Iterator[RecordId] = iter(ids)
    first = ", ".join(repr(record_id) for record_id in itertools.islice(listed, 5))
    return first + (" and more" if next(listed, None) is not None else "")
