"""The frame of the benchmarks: each is a module with a `SUMMARY` and a `measure(seed)`."""

from __future__ import annotations

import importlib
import inspect
import os
import pkgutil
import platform
import sys
from collections.abc import Callable
from importlib.metadata import version
from typing import Final, Protocol, cast

import psutil

from cli import printing
from domain.errors import Invalid, NotFound
from domain.values import Value

_PACKAGES: Final = ("temporalio", "sqlalchemy", "psycopg", "ortools", "fastapi")


class Metric(Value):
    """
    One measured number. `target` reads like `<= 40`; without one there is nothing to hold.

    Targets on absolute times depend on the machine: they print, and do not `decide`.
    """

    value: float
    unit: str
    target: str = ""
    holds: bool = True
    decides: bool = True


class Report(Value):
    bench: str
    ok: bool
    metrics: dict[str, Metric]
    seed: int
    versions: dict[str, str]
    load: dict[str, float]


class Bench(Protocol):
    """`measure` takes the seed and, by name, what else can be chosen: `seconds`, `size`, `plot`."""

    SUMMARY: str
    measure: Callable[..., dict[str, Metric]]


def at_most(value: float, limit: float, unit: str, *, decides: bool = True) -> Metric:
    """A metric that holds up to the limit."""
    return Metric(
        value=value, unit=unit, target=f"<= {limit:g}", holds=value <= limit, decides=decides
    )


def at_least(value: float, limit: float, unit: str, *, decides: bool = True) -> Metric:
    """A metric that holds from the limit up."""
    return Metric(
        value=value, unit=unit, target=f">= {limit:g}", holds=value >= limit, decides=decides
    )


def names() -> dict[str, str]:
    """The benchmarks and what each measures."""
    found = sorted(module.name for module in pkgutil.iter_modules(__path__))
    return {name: _bench(name).SUMMARY for name in found}


def run(name: str, seed: int, **chosen: float | str | None) -> Report:
    """Raises NotFound for an unknown name, Invalid for what cannot be chosen there."""
    if name not in names():
        raise NotFound(f"no benchmark {name!r}; there are {', '.join(names())}")
    measure = _bench(name).measure
    told = {option: value for option, value in chosen.items() if value is not None}
    for option in told:
        if option not in inspect.signature(measure).parameters:
            raise Invalid(f"{option}: the benchmark {name!r} takes no such choice")
    metrics = measure(seed, **told)
    return Report(
        bench=name,
        ok=all(metric.holds for metric in metrics.values() if metric.decides),
        metrics=metrics,
        seed=seed,
        versions=_versions(),
        load={"cpus": float(os.cpu_count() or 1), "load_1m": psutil.getloadavg()[0]},
    )


def table(report: Report) -> str:
    """A line for each metric; where the benchmark shows a table of its own, for each target."""
    lines = [f"{report.bench} (seed {report.seed}): {'ok' if report.ok else 'misses its targets'}"]
    show = getattr(_bench(report.bench), "show", None)
    for name, metric in report.metrics.items():
        if show and not metric.target:
            continue
        verdict = "" if not metric.target else "holds" if metric.holds else "MISSED"
        shown = f"{metric.value:>12.6g} {metric.unit:10}"
        lines.append(f"  {name:28} {shown} {metric.target:10} {verdict}".rstrip())
    if show:
        console = printing.console(plain=True)
        with console.capture() as captured:
            console.print(show(report.metrics))
        lines.append(captured.get().rstrip())
    return "\n".join(lines)


def _versions() -> dict[str, str]:
    own = {"python": platform.python_version(), "platform": sys.platform}
    return own | {package: version(package) for package in _PACKAGES}


def _bench(name: str) -> Bench:
    return cast("Bench", importlib.import_module(f"cli.bench.{name}"))
