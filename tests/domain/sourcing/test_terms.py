"""What a decision asks of its nodes until it is allocated: by which rules, and of what."""

from random import Random

from cli.random_problems import random_problem, with_rules
from domain.sourcing.policy import Constraint, Policy
from domain.sourcing.problem import Problem, Promised
from domain.sourcing.solver import solve
from domain.sourcing.terms import Terms, terms
from tests.domain.sourcing.small import node, problem

NODE = node("one", open_orders=2)


def rule(kind: str, value: int, **given: object) -> Constraint:
    return Constraint.model_validate({"name": kind, "kind": kind, "value": value, **given})


def of(*rules: Constraint) -> Terms | None:
    return terms(solve(problem(NODE, asks={"A": 1, "B": 1}, rules=rules), "d")).get("one")


def test_of_several_the_highest_holds_for_the_nodes_and_goods_that_it_speaks_of() -> None:
    assert of() is None
    least = (
        rule("min_stock", 2),
        rule("min_stock", 4, lines=("B",)),
        rule("min_stock", 7, nodes=("other",)),
        rule("min_stock", 5, hard=False),
    )
    assert of(*least) == Terms(least={"A": 2, "B": 4})
    assert of(rule("max_orders", 3), rule("max_orders", 5, nodes=("one",))) == Terms(most_orders=5)
    assert of(rule("max_orders", 9, nodes=("other",))) is None


def test_soft_rules_ask_nothing_but_what_they_allow_beside_a_hard_one_is_allowed() -> None:
    soft = rule("max_orders", 6, hard=False)
    assert of(soft) is None
    assert of(rule("min_stock", 9, hard=False)) is None
    assert of(rule("max_orders", 1), soft) == Terms(most_orders=6)


def test_a_promise_that_is_kept_asks_nothing() -> None:
    made = solve(problem(NODE, rules=(rule("min_stock", 2),)), "d")
    for kept in (True, False):
        promised = made.model_copy(update={"promise": Promised(token="t", kept=kept)})
        assert bool(terms(promised)) is not kept


def random_rule(chance: Random, number: int, asked: Problem) -> Constraint:
    nodes = [candidate.node for candidate in asked.candidates]
    return rule(
        chance.choice(("min_stock", "max_orders")),
        chance.randint(1, 5),
        name=f"extra-{number}",
        hard=chance.random() < 2 / 3,
        nodes=chance.choice((None, chance.sample(nodes, chance.randint(1, len(nodes))))),
        lines=chance.choice((None, [chance.choice(asked.demands).line_id])),
    )


def test_what_was_decided_meets_its_own_terms() -> None:
    chance, met = Random(11), 0  # noqa: S311 - problems, not secrets
    for _ in range(200):
        asked = with_rules(chance, random_problem(chance, lines=4, nodes=6))
        more = tuple(random_rule(chance, number, asked) for number in range(3))
        policy = Policy(constraints=asked.policy.constraints[:1] + more)
        asked = asked.model_copy(update={"policy": policy})
        skus = {demand.line_id: demand.sku for demand in asked.demands}
        seen = {candidate.node: candidate for candidate in asked.candidates}
        decision = solve(asked, "d")
        owed = terms(decision)
        for package in decision.plan.assignments:
            here, there = owed.get(package.node, Terms()), dict(seen[package.node].stock)
            for line in package.lines:
                there[skus[line.line_id]] -= line.quantity
            assert all(there[sku] >= units for sku, units in here.least.items())
            most = here.most_orders
            assert most is None or seen[package.node].open_orders < most
            met += here != Terms()
    assert met > 20
