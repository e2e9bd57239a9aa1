"""How a CP-SAT model is run: one worker, work that is counted, and what is known of its faults."""

from __future__ import annotations

from typing import Final

from ortools.sat.python import cp_model

from domain.errors import Invalid
from domain.sourcing.allowance import Spent, Work, bounded, left, spend

SEED: Final = 7
PRESOLVED_FROM: Final = 500  # variables

# Measured in seconds of a core with other work beside: a unit of deterministic time costs the more
# the larger the model is, and some time is in none. By variable, but for the first.
_PACE: Final = 2.0
_PACE_EACH: Final = 2e-4
_SOLVE: Final = 0.02
_SOLVE_EACH: Final = 3e-5


def run(
    cp: cp_model.CpModel, work_limit: float
) -> tuple[cp_model.CpSolver, cp_model.CpSolverStatus]:
    """
    Solve with one worker and a limit in counted work; past it, take the first plan there is. Where
    all work of a request counts, raise Spent instead.

    Measured: OR-Tools 9.15's presolve called a model infeasible that has a solution, by inclusions
    of linear rows. It looks for none, and what it calls infeasible is asked again without it.
    Raises Invalid where the numbers are too large to be added up in 64 bits.
    """
    solver = cp_model.CpSolver()
    solver.parameters.num_workers = 1
    solver.parameters.random_seed = SEED
    solver.parameters.max_deterministic_time = min(work_limit, left())
    # Measured: on models this small presolve and cuts cost more time than they save.
    solver.parameters.cp_model_presolve = len(cp.proto.variables) > PRESOLVED_FROM
    solver.parameters.presolve_inclusion_work_limit = 0
    solver.parameters.cp_model_probing_level = 0
    solver.parameters.symmetry_level = 0
    solver.parameters.cut_level = 0
    solver.parameters.linearization_level = 2
    work = bounded()
    status = _solved(solver, cp, work)
    if status == cp_model.INFEASIBLE and solver.parameters.cp_model_presolve:
        solver.parameters.cp_model_presolve = False
        status = _solved(solver, cp, work)
    if status == cp_model.UNKNOWN:
        if work is not None:
            # 0 is also what it says where it has proven nothing.
            raise Spent(solver.best_objective_bound or None)
        solver.parameters.max_deterministic_time = float("inf")
        solver.parameters.stop_after_first_solution = True
        status = solver.solve(cp)
    if status == cp_model.MODEL_INVALID:  # nothing else can be wrong with it
        raise Invalid("quantities, weights or costs: too large to be compared exactly; lower them")
    if status not in {cp_model.OPTIMAL, cp_model.FEASIBLE, cp_model.INFEASIBLE}:
        raise RuntimeError(f"the sourcing model is broken: {solver.status_name(status)}")
    spend(solver.response_proto.deterministic_time)
    return solver, status


def _solved(
    solver: cp_model.CpSolver, cp: cp_model.CpModel, work: Work | None
) -> cp_model.CpSolverStatus:
    """Within the work of the request, if that counts."""
    if work is None:
        return solver.solve(cp)
    size = len(cp.proto.variables)
    once, pace = _SOLVE + _SOLVE_EACH * size, _PACE + _PACE_EACH * size
    most = (work.next() - once) / pace
    if most <= 0:
        raise Spent
    limit = solver.parameters.max_deterministic_time
    solver.parameters.max_deterministic_time = min(limit, most)
    with work.halting(solver.stop_search):
        status = solver.solve(cp)
    solver.parameters.max_deterministic_time = limit
    work.take(once + pace * solver.response_proto.deterministic_time)
    return status
