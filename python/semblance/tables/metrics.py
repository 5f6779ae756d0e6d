"""What tables do, in Prometheus' text form."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from ..errors import UnsupportedError
from .table import EmbeddingTable

_FAMILIES = (
    # name, kind, key of `EmbeddingTable.stats`, help
    ("lookups", "counter", "looked_up", "Keys looked up, pooled or scored."),
    ("unknown_keys", "counter", "unknown_keys", "Keys that were not in the table."),
    ("rows", "gauge", "rows", "Keys that can be found; not there where every key has a row."),
    ("bytes", "gauge", "nbytes", "Bytes of rows, codes and keys."),
    ("generation", "gauge", "generation", "Number of the generation that readers get."),
    ("generation_age_seconds", "gauge", "generation_age_s", "Seconds since that generation was published."),
)


class TableCollector:
    """Tables as a collector of prometheus_client: ``registry.register(TableCollector({"user": table}))``.

    Parameters
    ----------
    tables
        Tables by the name that becomes the label ``table``.
    """

    def __init__(self, tables: Mapping[str, EmbeddingTable]) -> None:
        self._client = _client()
        self._tables = dict(tables)

    def collect(self) -> Iterator[Any]:
        """Return metric families over the present figures of every table."""
        figures = {name: table.stats() for name, table in self._tables.items()}
        for name, kind, key, text in _FAMILIES:
            family = self._client.Metric(f"semblance_table_{name}", text, kind)
            suffix = "_total" if kind == "counter" else ""
            for table, stats in figures.items():
                if stats[key] is not None:
                    family.add_sample(f"semblance_table_{name}{suffix}", {"table": table}, stats[key])
            yield family


def prometheus_text(tables: Mapping[str, EmbeddingTable]) -> str:
    """Look-ups, unknown keys, rows, bytes, generation and its age, as Prometheus scrapes them.

    Parameters
    ----------
    tables : mapping of str to EmbeddingTable
        By the name that becomes the label ``table``.

    Returns
    -------
    str
        Text exposition format 0.0.4. Counters start anew when a table is loaded.

    Raises
    ------
    UnsupportedError
        Without prometheus_client (``pip install 'semblance[metrics]'``).

    Examples
    --------
    >>> import numpy as np
    >>> table = EmbeddingTable.from_dense(np.eye(3, dtype=np.float32), missing="zero")
    >>> _ = table.lookup([0, 1, 7])
    >>> [line for line in prometheus_text({"user": table}).splitlines() if line.startswith("semblance_table_unknown")]
    ['semblance_table_unknown_keys_total{table="user"} 1.0']
    """
    client = _client()
    registry = client.CollectorRegistry()
    registry.register(TableCollector(tables))
    text: str = client.generate_latest(registry).decode()
    return text


def _client() -> Any:
    try:
        import prometheus_client
    except ImportError as error:
        raise UnsupportedError(
            "prometheus_text: expected prometheus_client, got none (pip install 'semblance[metrics]')"
        ) from error
    return prometheus_client
