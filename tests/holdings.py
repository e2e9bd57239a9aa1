"""What a world in memory holds of goods and orders, and what must be so of it at the end."""

from __future__ import annotations

from collections import Counter, defaultdict

from domain.fulfillments import Fulfillment, LineQuantity
from domain.orders import GONE, TERMINAL
from domain.records import OrderState


class Holdings:
    """
    `stock` is what is free by node and SKU, `on_hand` what ever came in. `gone` are the goods that
    really left their node; `wrong` says what fell below zero.
    """

    def __init__(self, stock: dict[str, dict[str, int]] | None = None) -> None:
        self.stock = stock if stock is not None else {"A": {"mug": 10}, "B": {"mug": 10}}
        self.on_hand = {node: Counter(units) for node, units in self.stock.items()}
        self.reserved: dict[str, Counter[str]] = {}
        self.allocated: dict[str, Counter[str]] = {}
        self.shipped: dict[str, Counter[str]] = {}
        self.gone: dict[str, Counter[str]] = defaultdict(Counter)
        self.states: dict[str, OrderState] = {}
        self.fulfillments: dict[str, Fulfillment] = {}
        self.requests: Counter[str] = Counter()
        self.wrong: list[str] = []

    def receive(self, node: str, sku: str, quantity: int) -> None:
        for shelf in (self.stock, self.on_hand):
            units = shelf.setdefault(node, Counter())
            units[sku] = units.get(sku, 0) + quantity

    def ats(self, sku: str, node: str | None = None) -> int:
        shelves = [self.stock[node]] if node else self.stock.values()
        free = sum(units.get(sku, 0) for units in shelves)
        return free - sum(r[sku] for r in self.reserved.values())

    def take(self, units: Counter[str], sku: str, quantity: int, what: str) -> None:
        units[sku] -= quantity
        if units[sku] < 0:
            self.wrong.append(f"{what}: {sku} fell to {units[sku]}")

    def all_gone(self, fulfillment_id: str) -> bool:
        gone = self.gone[fulfillment_id]
        return all(
            gone[lq.line_id] >= lq.quantity for lq in self.fulfillments[fulfillment_id].lines
        )

    def let_go(self, fulfillment_id: str, lines: tuple[LineQuantity, ...] = ()) -> None:
        """The goods leave the node: these lines of the fulfillment, or all that is still there."""
        f, gone = self.fulfillments[fulfillment_id], self.gone[fulfillment_id]
        for lq in lines or f.lines:
            gone[lq.line_id] += lq.quantity if lines else lq.quantity - gone[lq.line_id]

    def leftovers(self) -> list[str]:
        """What is still held anywhere."""
        found = [f"reserved {r}: {u}" for r, u in self.reserved.items() if any(u.values())]
        return found + [f"allocated {f}: {u}" for f, u in self.allocated.items() if any(u.values())]

    def shipped_units(self) -> int:
        return sum(sum(units.values()) for units in self.shipped.values())

    def problems(self) -> list[str]:
        """Every invariant that does not hold once all orders are closed."""
        found = [*self.wrong, *self.leftovers()]
        for node, units in self.on_hand.items():
            for sku, had in units.items():
                left = sum(
                    self.shipped.get(fid, Counter())[sku]
                    for fid, f in self.fulfillments.items()
                    if f.node == node
                )
                if self.stock[node].get(sku, 0) + left != had:
                    found.append(f"{sku} at {node}: {had} were there, {left} left")
        for order_id, state in self.states.items():
            found += [f"{order_id}: {what}" for what in self._unsound(state)]
        return found

    def _unsound(self, state: OrderState) -> list[str]:
        found = [] if state.status in TERMINAL else [f"is {state.status}"]
        for line in state.lines:
            if sum(line.buckets.values()) != line.ordered:
                found.append(f"line {line.line_id}: {line.buckets} of {line.ordered}")
            out = sum(self.gone[f.fulfillment_id][line.line_id] for f in state.fulfillments)
            if out > line.ordered:
                found.append(f"line {line.line_id}: {out} left their nodes, {line.ordered} ordered")
            if out != line.units(*GONE):
                found.append(f"line {line.line_id}: {out} left their nodes, {line.buckets} told")
        asked = [self.requests[f.fulfillment_id] for f in state.fulfillments]
        return found if max(asked, default=0) <= 1 else [*found, f"asked {asked} times"]
