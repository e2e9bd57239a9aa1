"""Plays one policy over a path of orders, as they come: decide, check, count, take the stock."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final, NamedTuple, Protocol

import numpy as np

from cli.markets.dombench import UNFILLED, Asked, Flags, Ints, Market, Path


class Package(NamedTuple):
    """From a node, so many units of each line of the order."""

    node: int
    units: Ints


@dataclass
class State:
    """
    What a policy sees: the market, what is left of the stock, and how much of the time has passed.

    `left` is how many packages each node takes today, if that is limited.
    """

    market: Market
    stock: Ints
    at: float = 0.0
    left: Ints | None = None

    def free(self, asked: Asked) -> Ints:
        """Units by line and node that may be sent now."""
        rows = self.stock[asked.skus]
        if self.left is not None:
            rows[:, self.left <= 0] = 0
        return rows


class Policy(Protocol):
    """
    Decides one order at a time; whoever wants to be measured writes one of these.

    `free` are the units by line of the order and node that may be sent (as `state.free`, less the
    nodes that have said no). The packages must fit in it, and give no line more than it asks for;
    two from one node are two. What is in none of them is unfilled.
    """

    name: str

    def decide(self, asked: Asked, free: Ints, state: State) -> Sequence[Package]: ...


class Obstacles(NamedTuple):
    """
    What comes in the way. `per_day` is how many packages each node takes a day, of `days` in all;
    `refuses[order, node]` where the node says no; `arrivals` are goods that come at a moment.
    """

    days: int = 1
    per_day: Ints | None = None
    refuses: Flags | None = None
    arrivals: tuple[tuple[float, Ints], ...] = ()


NOTHING: Final = Obstacles()


@dataclass
class Played:
    """What a policy's run came to; `costs` by order in cents, with what was unfilled."""

    name: str
    costs: Ints
    packages: int = 0
    unfilled: int = 0
    optimal: int = 0
    regret: list[int] = field(default_factory=list)

    @property
    def cost(self) -> int:
        return int(self.costs.sum())

    @property
    def per_order(self) -> float:
        """Packages of an order."""
        return self.packages / len(self.costs)


def play(
    policy: Policy,
    market: Market,
    path: Path,
    obstacles: Obstacles = NOTHING,
    judge: Policy | None = None,
) -> Played:
    """
    From the market's stock on. A `judge` decides every order in the same state as well, for the
    share of orders that the policy routes as cheaply. Raises for a plan that cannot be.
    """
    state = State(market, market.stock.copy())
    played = Played(policy.name, np.zeros(len(path), np.int64))
    state.left = _left(obstacles)
    arrivals, day = list(obstacles.arrivals), 0
    for asked in path:
        state.at = float(path.at[asked.number])
        while arrivals and arrivals[0][0] <= state.at:
            state.stock += arrivals.pop(0)[1]
        if int(state.at * obstacles.days) > day:
            day, state.left = int(state.at * obstacles.days), _left(obstacles)
        if judge is not None:
            best = _cost(market, asked, judge.decide(asked, state.free(asked), state))
        cost = _settled(policy, asked, state, played, obstacles.refuses)
        played.costs[asked.number] = cost
        if judge is not None:
            played.regret.append(cost - best)
            played.optimal += cost <= best
    return played


def _left(obstacles: Obstacles) -> Ints | None:
    return None if obstacles.per_day is None else obstacles.per_day.copy()


def _settled(
    policy: Policy,
    asked: Asked,
    state: State,
    played: Played,
    refuses: Flags | None,
) -> int:
    """Decide, ask the nodes, and decide again without those that say no."""
    cost, refused, wanted = 0, False, asked
    said_no = np.zeros(state.stock.shape[1], np.bool_)
    while True:
        free = state.free(wanted)
        free[:, said_no] = 0
        missing = wanted.units.copy()
        refused = False
        for package in policy.decide(wanted, free, state):
            if refuses is not None and refuses[asked.number, package.node]:
                said_no[package.node] = refused = True
                continue
            missing -= package.units
            free[:, package.node] -= package.units
            if (missing < 0).any() or (free[:, package.node] < 0).any() or not package.units.any():
                raise ValueError(f"{policy.name}: order {asked.number} cannot have {package}")
            state.stock[wanted.skus, package.node] -= package.units
            cost += state.market.package_cost(wanted, package.node, package.units)
            played.packages += 1
            if state.left is not None:
                state.left[package.node] -= 1
        if not refused or not missing.any():
            played.unfilled += int(missing.sum())
            return cost + UNFILLED * int(missing.sum())
        some = missing > 0
        wanted = wanted._replace(skus=wanted.skus[some], units=missing[some])


def _cost(market: Market, asked: Asked, packages: Sequence[Package]) -> int:
    filled = sum(int(package.units.sum()) for package in packages)
    sent = sum(market.package_cost(asked, package.node, package.units) for package in packages)
    return sent + UNFILLED * (int(asked.units.sum()) - filled)
