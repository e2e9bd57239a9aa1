"""What the activity does about two solvers that differ."""

import pytest

from activities.sourcing import compare
from domain.sourcing.problem import Certificate
from tests.api.conftest import a_decision, an_order


@pytest.mark.parametrize("agrees", [True, False])
def test_two_solvers_that_differ_are_logged_as_an_error(
    caplog: pytest.LogCaptureFixture, *, agrees: bool
) -> None:
    decision = a_decision(an_order("1"))
    other = Certificate(
        solver="ortools-cp-sat", agrees=agrees, proof="optimal", unsourced=0, cost_minor=790
    )
    compare(decision.model_copy(update={"certificate": other}))

    said = [record.getMessage() for record in caplog.records if record.levelname == "ERROR"]
    assert bool(said) is not agrees
    assert all(decision.decision_id in text and "790" in text for text in said)
