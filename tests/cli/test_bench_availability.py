"""The availability benchmark runs through on a small scale; its times are not looked at."""

import pytest

from cli.bench import availability
from cli.bench.availability import Scale

SMALL = Scale(nodes=30, most_nodes=100, skus=6, few=600, many=1200, rounds=2, reads=5, seconds=1.0)


@pytest.mark.long
def test_it_reads_the_same_both_ways_and_answers_over_http() -> None:
    metrics = availability.measured(3, SMALL)
    assert metrics["answers_compared"].value == 3 * 2 * (5 + 1)
    assert metrics["http_calls"].value == 300
    assert metrics["oldest_answer_ms"].value <= 1000
    assert metrics["read_ratio"].target == ">= 10"
    assert not metrics["http_p99_ms"].decides
