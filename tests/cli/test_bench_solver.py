"""The solver benchmark runs through on a small scale; its times are not looked at."""

from cli.bench import solver
from cli.bench.solver import Scale

SMALL = Scale(nodes=40, stocking=12, instances=2, rounds=5, problems=10, beyond=2)


def test_every_solver_finds_the_same_optimum_and_nothing_is_missed() -> None:
    metrics = solver.measured(3, SMALL)
    assert metrics["misses"].value == 0
    assert metrics["compared"].value == 10
    assert metrics["beyond_the_kernel"].value == 2
    assert metrics["speed_ratio"].target == ">= 100"
    assert metrics["speed_ratio"].decides
    assert not metrics["p99_ms"].decides
