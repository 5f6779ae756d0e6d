"""Prometheus text, parsed by the library that writes it, and the comparison with dense weights."""

from __future__ import annotations

import sys

import numpy as np
import pytest
from prometheus_client import CollectorRegistry
from prometheus_client.parser import text_string_to_metric_families

import semblance as sb
from semblance.tables import EmbeddingTable, TableCollector, fidelity, prometheus_text, seeded

WEIGHTS = np.random.default_rng(0).standard_normal((9, 4)).astype(np.float32)


def samples(text: str) -> dict[tuple[str, str], float]:
    families = text_string_to_metric_families(text)
    return {(s.name, s.labels["table"]): s.value for family in families for s in family.samples}


def test_figures():
    user = EmbeddingTable.from_dense(WEIGHTS, missing="zero")
    rows = seeded(3)
    user.lookup([0, 1, 99])
    user.pool([1, 2], [0, 2])
    user.score(WEIGHTS[0], [1])
    rows.lookup([5])
    found = samples(prometheus_text({"user": user, 'odd "name"\n': rows}))
    assert found["semblance_table_lookups_total", "user"] == 6
    assert found["semblance_table_unknown_keys_total", "user"] == 1
    assert found["semblance_table_bytes", "user"] == user.nbytes
    assert found["semblance_table_rows", "user"] == 9
    assert found["semblance_table_lookups_total", 'odd "name"\n'] == 1
    assert ("semblance_table_rows", 'odd "name"\n') not in found
    before = found["semblance_table_generation_age_seconds", "user"]
    assert samples(prometheus_text({"user": user}))["semblance_table_generation_age_seconds", "user"] > before >= 0
    with user.writer() as writer:
        writer.upsert([0], WEIGHTS[:1])
    user.lookup([0])
    found = samples(prometheus_text({"user": user}))
    assert found["semblance_table_generation", "user"] == 1
    assert found["semblance_table_lookups_total", "user"] == 7


def test_a_collector_joins_a_registry():
    registry = CollectorRegistry()
    registry.register(TableCollector({"t": EmbeddingTable.from_dense(WEIGHTS)}))
    assert registry.get_sample_value("semblance_table_rows", {"table": "t"}) == 9


def test_without_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "prometheus_client", None)
    with pytest.raises(sb.UnsupportedError, match=r"semblance\[metrics\]"):
        prometheus_text({})


def test_fidelity():
    table = EmbeddingTable.from_dense(WEIGHTS, "f32", keys=[f"k{i}" for i in range(9)])
    keys = [f"k{i}" for i in range(9)]
    assert fidelity(table, WEIGHTS, keys)[:3] == (0, 0, 0)
    moved = WEIGHTS.copy()
    moved[4, 2] += 3
    report = fidelity(table, moved, keys)
    assert report.rmse == pytest.approx(3 / 6, rel=1e-6)
    assert report.largest == pytest.approx(3, rel=1e-6)
    assert report.relative == pytest.approx(3 / np.linalg.norm(moved), rel=1e-6)
    assert report.cosine < 1
    zero = EmbeddingTable.from_dense(np.zeros((2, 3), np.float32))
    assert fidelity(zero, np.zeros((2, 3))) == (0, 0, 0, 0)
    for wrong, own in ((WEIGHTS[:, :3], None), (WEIGHTS, ["k1"]), (WEIGHTS[0], None)):
        with pytest.raises(sb.ArgumentError, match="weights: expected shape"):
            fidelity(table, wrong, own)
