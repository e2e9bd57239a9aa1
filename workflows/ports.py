"""
What the workflows ask of the world. Answered in `activities/`.

Every request that changes something carries the `Change` to write with it, in the same transaction,
and may arrive twice or after its own undo: doing it again is doing it once.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from datetime import datetime, timedelta
from typing import Literal

from temporalio import activity

from domain.fulfillments import Fulfillment, LineQuantity, NodeEvent
from domain.network import Kit
from domain.orders import Hold, Order, Units
from domain.records import Change, OrderState
from domain.sourcing.problem import Outcome, Plan
from domain.sourcing.terms import Terms
from domain.values import Value


class ValidateOrder(Value):
    """
    `run` is the first run of the workflow's chain: the same after a reset, another after a reuse.
    """

    order: Order
    run: str
    change: Change


class Validated(Value):
    """
    The verdict. `skus` maps line ids to catalogue SKUs (empty where unknown), and `kits` those of
    kits to what they are made of.

    `resume` is the stored state where this order was already under way in this chain of runs, or in
    one that was terminated; `duplicate` says that another chain finished it, and `resume` how.
    `base` is the last change of the record: the next one builds on it.
    """

    verdict: Literal["pass", "hold", "reject", "duplicate"]
    skus: dict[str, str] = {}
    kits: dict[str, Kit] = {}
    holds: tuple[Hold, ...] = ()
    code: str = ""
    reason: str = ""
    resume: OrderState | None = None
    base: str | None = None


class Reserve(Value):
    """
    Take all units or none. With `node`, at that node at once (pickup); else from the network.

    `takes_over` is a cart's reservation: its units become the order's. Short, an order
    that `waits` claims named supply.
    """

    reservation_id: str
    order_id: str
    channel: str = ""
    units: tuple[Units, ...]
    node: str | None
    reserved: Change
    short: Change
    takes_over: str | None = None
    waits: bool = False


class Reserved(Value):
    """
    `missing` maps SKU to units short, where not ok; `expected` is when named supply has brought
    all of it, where that is known.
    """

    ok: bool
    missing: dict[str, int] = {}
    expected: datetime | None = None


class SourceOrder(Value):
    """
    `alone`: not to wait any more for others to be sourced with. `rules` names the rule set that
    judges what another one left over. `together` names the pass that took the units back, so as to
    have them sourced with those of other orders. `excluded_at` is since when nodes are excluded;
    whether rules end that is judged by `asked_at`, the order's clock, where it is ahead of ours.
    """

    order_id: str
    round: int
    units: tuple[Units, ...]
    excluded: dict[str, str]
    firm_node: str | None
    promise_by: datetime | None
    alone: bool = False
    rules: str = ""
    together: str = ""
    excluded_at: dict[str, datetime] = {}
    asked_at: datetime | None = None


class Sourced(Value):
    """
    `review`: the plan waits for a person's approval. `wait_until`: nothing is decided yet, for the
    order is sourced together with others by then. `release_at`: by node, when it is to be asked,
    where that is not at once. `terms`: by node, what rules still ask of it when it is allocated.
    `again_at`: when the first excluded node may be asked again for what found no node.
    """

    decision_id: str
    solver: str
    plan: Plan
    outcome: Outcome = Outcome()
    review: bool = False
    wait_until: datetime | None = None
    release_at: dict[str, datetime] = {}
    terms: dict[str, Terms] = {}
    again_at: datetime | None = None


class Allocate(Value):
    """
    Move the reserved units to the nodes of these fulfillments, with their capacity, on the terms of
    the decision that chose them.
    """

    key: str
    reservation_id: str
    fulfillments: tuple[Fulfillment, ...]
    change: Change
    terms: dict[str, Terms] = {}


class Allocated(Value):
    """Not ok: nothing was moved; `dry` names the nodes that could not keep the plan, and why."""

    ok: bool
    dry: dict[str, str] = {}


class GiveBack(Value):
    """Take units back from a node: to the order's reservation, or free for all."""

    key: str
    fulfillment_id: str
    lines: tuple[LineQuantity, ...]
    to: Literal["reservation", "free"]
    reservation_id: str
    change: Change


class Release(Value):
    """Give the reservation back, and let no late attempt take it again."""

    reservation_id: str
    change: Change


class Ship(Value):
    """The units left the node: on hand and allocation go down together."""

    key: str
    fulfillment_id: str
    lines: tuple[LineQuantity, ...]
    change: Change


class OpenPickup(Value):
    """Open or extend a pickup window: `days` open days of the store from `since`, or `window`."""

    fulfillment_id: str
    since: datetime
    days: int
    window: timedelta | None
    change: Change


class Dispatched(Value):
    """
    `refused` is why the node said no at once, else empty. `events` are all it has said so far.
    `held`: nothing was sent, for the order is on hold.
    """

    refused: str = ""
    held: bool = False
    events: tuple[NodeEvent, ...] = ()


class Recall(Value):
    fulfillment_id: str
    reason: str


class Recalled(Value):
    """
    What the node said to a cancellation request.

    `cancelled` and `never_received` prove that it will not ship; `refused` that it ships or has
    shipped; `pending` that its answer comes as an event.
    """

    answer: Literal["cancelled", "never_received", "refused", "pending"]
    reason: str = ""
    events: tuple[NodeEvent, ...] = ()


class Orders(ABC):
    @activity.defn
    @abstractmethod
    async def validate(self, request: ValidateOrder) -> Validated:
        """Write the order down if it is new, and say whether it may go on."""

    @activity.defn
    @abstractmethod
    async def record(self, change: Change) -> None:
        """Write a change that has no other effect."""


class Stock(ABC):
    @activity.defn
    @abstractmethod
    async def reserve(self, request: Reserve) -> Reserved: ...

    @activity.defn
    @abstractmethod
    async def release(self, request: Release) -> None: ...

    @activity.defn
    @abstractmethod
    async def allocate(self, request: Allocate) -> Allocated: ...

    @activity.defn
    @abstractmethod
    async def give_back(self, request: GiveBack) -> None: ...

    @activity.defn
    @abstractmethod
    async def ship(self, request: Ship) -> None: ...

    @activity.defn
    @abstractmethod
    async def open_pickup(self, request: OpenPickup) -> datetime:
        """When the window ends, in the store's own calendar. Writes it into the change's state."""


class Sourcing(ABC):
    @activity.defn
    @abstractmethod
    async def optimize_source(self, request: SourceOrder) -> Sourced:
        """Decide, and write the decision down. The same round is decided once."""


class Nodes(ABC):
    @activity.defn
    @abstractmethod
    async def dispatch(self, fulfillment_id: str) -> Dispatched:
        """Ask the node to fulfill. One request reaches it, however often this runs."""

    @activity.defn
    @abstractmethod
    async def recall(self, request: Recall) -> Recalled:
        """Ask the node to give the work back."""


class Abandoned(Value):
    """An order that is open in our records while its workflow has ended, or is `stuck`."""

    order_id: str
    workflow_id: str
    status: str


class Reoptimise(Value):
    """A dry run only tells what would move."""

    dry_run: bool = False


class Better(Value):
    """
    An order that could be sourced better, or would make room for one that could (then it saves less
    than nothing): where its packages are to leave, `before` and `after`. Money in minor units, by
    what plans are compared by.
    """

    order_id: str
    before: dict[str, str]
    after: dict[str, str]
    saves_minor: int
    currency: str
    moves: bool


class Reoptimised(Value):
    """
    What a pass over allocated work that no node was asked for found: how many orders it
    `looked_at`, how many are `moved` (in a dry run: would be), what that saves. `orders` has those
    that save most, at most so many as one message carries.
    """

    looked_at: int
    moved: int
    saves_minor: int
    orders: tuple[Better, ...] = ()


class Upkeep(ABC):
    @activity.defn
    @abstractmethod
    async def recover_abandoned(self) -> tuple[Abandoned, ...]:
        """
        Restart, in order to cancel, every open order whose workflow was terminated or lost; start
        over, from its record, every one whose history cannot be replayed.
        """

    @activity.defn
    @abstractmethod
    async def reoptimise(self, request: Reoptimise) -> Reoptimised:
        """
        Have allocated work that no node was asked for sourced anew, where that saves more than its
        rules ask for.
        """

    @activity.defn
    @abstractmethod
    async def poll_channel(self, channel: str) -> int:
        """Fetch what changed at a polled channel since the stored cursor; how many orders came."""
