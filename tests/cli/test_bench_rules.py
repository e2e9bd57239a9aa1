"""The rules benchmark runs through; nodes asked together answer as each by itself would."""

import pytest

from cli.bench import rules


def test_what_is_asked_together_is_answered_as_one_by_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rules, "_SIZES", (20, 50))
    metrics = rules.measure(3)
    assert metrics["differences"].value == 0
    assert {"order_20_ms", "apart_50_ms", "miles_50_ms"} <= set(metrics)
    assert not metrics["alike_50_ms"].decides
