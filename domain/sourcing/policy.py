"""What rules say about one order's decision: what counts how much, and what a plan must keep to."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Final, Literal

from pydantic import Field

from domain.values import Value

Percent = Annotated[int, Field(ge=0, le=100_000)]
Price = Annotated[int, Field(ge=0, le=10_000_000)]

Kind = Literal[
    "min_stock",
    "location_priority",
    "max_nodes",
    "max_packages",
    "max_distance",
    "max_rejects",
    "max_orders",
    "offline",
    "ship_complete_lines",
    "ship_complete_order",
    "value_floor",
    "never_split",
    "keep_together",
    "ship_alone",
    "capability",
    "firm_node",
    "preferred_node",
    "local_radius",
    "exclude",
]
ALWAYS_HARD: Final[frozenset[Kind]] = frozenset({"location_priority"})
PREFERENCES: Final[frozenset[Kind]] = frozenset({"preferred_node", "local_radius"})


class Weights(Value):
    """
    What plans are compared by: how much of each part's money counts, in per cent (100: as it is,
    0: not at all), and prices, in minor units, of what is not money.

    `stock` is the opportunity of the units taken (markdown, stock-out), `goods` what the goods cost
    from that node, for margin.
    """

    shipping: Percent = 100
    handling: Percent = 100
    split: Percent = 100
    late: Percent = 100
    labour: Percent = 100
    stock: Percent = 100
    goods: Percent = 0
    carbon_minor_per_kg: Price = 0
    minor_per_day: Price = 0
    minor_per_package: Price = 0
    minor_per_1000_miles: Price = 0


class Constraint(Value):
    """
    One rule as it stands for one order: its conditions are evaluated already.

    `nodes` and `lines` (line ids) are those that it speaks of; None: all. What `value` means, and
    which of several rules of a kind holds for a node or a line:

    - min_stock: of the lines' goods so many units stay at the nodes. The highest holds.
    - location_priority: the nodes are of this priority, 1 (first) to 10. Nodes without one are out;
      fewest packages, then the lowest sum of priorities come before any cost. The first one holds.
    - max_nodes, max_packages (cartons): at most so many. The lowest holds.
    - max_distance: at most so many miles; abroad is farther than any. The lowest holds.
    - max_rejects: lines rejected so often, or more, are not sourced. The lowest holds.
    - max_orders: nodes with so many unshipped orders, or more, are out. The highest holds.
    - offline: the nodes are out.
    - ship_complete_lines: each of the lines as a whole or not at all, maybe from several nodes.
    - ship_complete_order: everything that is asked for, or nothing.
    - value_floor: where not all leaves in one package, each package is worth at least so many minor
      units, and so is what stays behind, if anything does. The highest holds.
    - never_split: all in one package, or nothing; where any of the lines is asked for, and where
      the order is worth less than `value`, if one is given.
    - keep_together: all units of the lines in one package, or none of them.
    - ship_alone: each unit of the lines in a carton of its own.
    - capability: what carries the lines must offer `what` (as `Demand.needs`).
    - firm_node: from these nodes only. Of several, from those that all of them name.
    - preferred_node: a package from another node counts so many minor units more. They add up.
    - local_radius: nodes within so many miles count as equally near. The highest holds.
    - exclude: the nodes do not serve the lines (a cool-down after a rejection, say).

    All are kept to at first. Where units find no node then, those that are not `hard` are dropped,
    for these units only. A location priority is hard whatever it says, and preferences (a preferred
    node, a local radius) always count.
    """

    name: str
    kind: Kind
    hard: bool = True
    value: Annotated[int | None, Field(ge=0)] = None
    nodes: tuple[str, ...] | None = None
    lines: tuple[str, ...] | None = None
    what: str = ""

    @property
    def soft(self) -> bool:
        return not self.hard and self.kind not in ALWAYS_HARD | PREFERENCES


PROFILES: Final[Mapping[str, Weights]] = {
    "lowest_cost": Weights(),
    "fastest": Weights(minor_per_day=10_000),
    "fewest_packages": Weights(minor_per_package=100_000),
    "balanced_load": Weights(labour=500),
    "greenest": Weights(shipping=10, handling=10, labour=10, carbon_minor_per_kg=1_000),
    "margin": Weights(goods=100, late=0),
}


class Policy(Value):
    """
    Everything that rules say about one order's decision.

    `rules` is the one rule set's name and version, as "name@3"; "" is the built-in one.
    """

    rules: str = ""
    profile: str = "lowest_cost"
    weights: Weights = PROFILES["lowest_cost"]
    constraints: tuple[Constraint, ...] = ()
