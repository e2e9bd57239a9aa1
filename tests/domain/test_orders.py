"""What makes an order the same order."""

from datetime import UTC, datetime

from domain.orders import Address, Line, Order


class LaterOrder(Order):
    """The order of a later version, which has one more field."""

    gift_note: str = ""


def order(of: type[Order] = Order, **more: object) -> Order:
    made = {
        "channel": "web",
        "channel_order_id": "1",
        "placed_at": datetime(2026, 11, 20, tzinfo=UTC),
        "currency": "USD",
        "lines": (Line(line_id="1", sku="mug", quantity=2),),
        "ship_to": Address(country="US", postal_code="60601"),
    }
    return of.model_validate({**made, **more})


def test_a_field_that_a_version_adds_leaves_an_order_the_same() -> None:
    assert order(LaterOrder).digest == order().digest


def test_whatever_is_told_of_an_order_makes_it_another_one() -> None:
    more = (Line(line_id="1", sku="mug", quantity=3),)

    assert order(lines=more).digest != order().digest
    assert order(LaterOrder, gift_note="from Ada").digest != order().digest
