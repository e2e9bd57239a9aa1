"""The reservation benchmark runs, and its rows prove what its answers said; no time is asserted."""

import pytest

from cli.bench import reservations


@pytest.mark.long
def test_a_short_run_sells_nothing_twice_and_tells_every_caller_the_truth() -> None:
    metrics = reservations.measure(seed=1, seconds=1.5)
    ratios = {"hot_sku_ratio_32", "hot_sku_ratio_320", "uniform_ratio", "multi_line_ratio"}
    assert ratios <= metrics.keys()
    assert all(metrics[name].value > 0 and metrics[name].target for name in ratios)
    proven = ("oversold", "answers_unlike_rows", "audit_findings")
    assert {name: metrics[name].value for name in proven} == dict.fromkeys(proven, 0)
    assert metrics["sold_out"].holds
    assert metrics["orders_checked"].value > metrics["sold_out"].value
