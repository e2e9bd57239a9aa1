"""What there is to sell, read for the domain to judge: under a reservation's locks, or freely."""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import replace
from typing import Any, Final, NamedTuple

import numpy as np
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from domain.availability import (
    NOTHING,
    Offer,
    Outlet,
    Outlets,
    Position,
    at_nodes,
    kit_offer,
    safety_stock,
    tells_apart,
    to_sell,
    with_arrivals,
)
from domain.network import Kit
from domain.orders import DeliveryMethod
from domain.stock_rules import Rule, RuleKind
from domain.supply import Arrivals
from storage import stock_rules
from storage.ledger import Shelves
from storage.stock_rules import Known

# `unshipped` are the SKUs of which a node has some that does not ship: the pool counts them.
_RULED: Final = text(f"""
SELECT ARRAY(SELECT DISTINCT sku FROM stock WHERE sku = ANY(:skus) AND on_hand > allocated
  AND node IN (SELECT code FROM nodes WHERE NOT (body ->> 'ships')::boolean)) AS unshipped,
{stock_rules.KNOWN}
""")  # noqa: S608 - a constant

_OUTLETS: Final = """
SELECT code, status = 'online' AS online, coalesce((body ->> 'ships')::boolean, true) AS ships,
  coalesce((body ->> 'pickup')::boolean, false) AS pickup,
  coalesce((body ->> 'latitude')::float, 0) AS latitude,
  coalesce((body ->> 'longitude')::float, 0) AS longitude
FROM nodes
"""

# One statement: an allocation moves units from the promised to a shelf, and must not be seen half.
_SHELVES: Final = text("""
SELECT w.sku, coalesce(p.available, 0) AS pool, s.nodes, s.on_hand, s.allocated,
  CASE WHEN w.apart THEN (
    SELECT jsonb_object_agg(channel, units) FROM (
      SELECT r.channel, sum(l.quantity) AS units FROM reservation_lines AS l
      JOIN reservations AS r USING (reservation_id)
      WHERE l.sku = w.sku AND l.quantity > 0 AND r.node IS NULL GROUP BY r.channel) AS each)
  END AS promised,
  CASE WHEN w.apart THEN (
    SELECT jsonb_object_agg(channel, units) FROM (
      SELECT channel, sum(quantity) AS units FROM (
        SELECT a.channel, l.quantity FROM allocation_lines AS l
        JOIN allocations AS a USING (fulfillment_id) WHERE l.sku = w.sku AND l.quantity > 0
        UNION ALL
        SELECT r.channel, l.quantity FROM reservation_lines AS l
        JOIN reservations AS r USING (reservation_id)
        WHERE l.sku = w.sku AND l.quantity > 0 AND r.node IS NOT NULL) AS either
      GROUP BY channel) AS each)
  END AS held
FROM unnest(CAST(:skus AS text[]), CAST(:apart AS boolean[])) AS w (sku, apart)
LEFT JOIN pool AS p USING (sku)
LEFT JOIN LATERAL (
  SELECT array_agg(node ORDER BY node) AS nodes, array_agg(on_hand ORDER BY node) AS on_hand,
    array_agg(allocated ORDER BY node) AS allocated
  FROM stock WHERE stock.sku = w.sku) AS s ON true
""")


class Bundle(NamedTuple):
    """Kits of one line, of which each has units of several SKUs: `parts` are (line, SKU, units)."""

    sku: str
    kits: int
    together: bool
    parts: tuple[tuple[str, str, int], ...]


class Sale:
    """
    What each channel may take of some SKUs while their pool is locked.

    It answers for one order after the other: say what was taken of it, and the next answer counts
    it in.
    """

    def __init__(self, outlets: Outlets, positions: dict[str, Position]) -> None:
        self._outlets = outlets
        self._positions = positions
        self._said: dict[str, dict[tuple[str, str | None], int]] = {}  # until some is taken

    def left(self, sku: str, channel: str, node: str | None = None) -> int:
        """Units for the channel: from the network, or with `node` for a pickup there."""
        said = self._said.setdefault(sku, {})
        if (channel, node) not in said:
            said[channel, node] = self._judged(sku, channel, node)
        return said[channel, node]

    def kits_left(self, bundle: Bundle, channel: str, node: str | None = None) -> int:
        """Whole kits for the channel, wanted or not, in the same way."""
        none = NOTHING
        parts = [(self._positions.get(sku, none), n) for _, sku, n in bundle.parts]
        own = self._positions.get(bundle.sku, none)
        method = DeliveryMethod.SHIP if node is None else DeliveryMethod.PICKUP
        found = kit_offer(self._outlets, own, parts, channel, method, together=bundle.together)
        return found.units if node is None else found.nodes.get(node, 0)

    def after(self, arrivals: Arrivals) -> "Sale":
        """The sale once units of SKUs have come to nodes."""
        came = {
            sku: with_arrivals(self._outlets, self._positions.get(sku, NOTHING), units)
            for sku, units in arrivals.items()
        }
        return Sale(self._outlets, {**self._positions, **came})

    def all_of_it(self, sku: str, arrivals: Arrivals) -> bool:
        """Whether all channels may have all units that come, by the network."""
        here, outlets = self._positions.get(sku, NOTHING), self._outlets
        there = [outlets.index[node] for node in arrivals.get(sku, ())]
        ships = outlets.offers("", DeliveryMethod.SHIP)
        return not (here.rules or outlets.divided) and here.pool >= 0 and bool(ships[there].all())

    def mark(self) -> dict[str, Position]:
        """How it stands, to go `back` to."""
        return dict(self._positions)

    def back(self, mark: dict[str, Position]) -> None:
        self._positions, self._said = mark, {}

    def took(self, sku: str, channel: str, quantity: int, node: str | None = None) -> None:
        """The network promised these units to the channel, or `node` allocated them to it."""
        self._said.pop(sku, None)
        here = self._positions[sku]
        whose = here.promised if node is None else here.held
        counted = {**whose, channel: whose.get(channel, 0) + quantity}
        here = replace(here, pool=here.pool - quantity)
        if node is None:
            self._positions[sku] = replace(here, promised=counted)
        else:
            there = here.nodes == self._outlets.index[node]
            allocated = here.allocated + there * quantity
            self._positions[sku] = replace(here, allocated=allocated, held=counted)

    def _judged(self, sku: str, channel: str, node: str | None) -> int:
        here = self._positions.get(sku, NOTHING)
        if node is None:
            return to_sell(self._outlets, here, channel, DeliveryMethod.SHIP)
        units = at_nodes(self._outlets, here, channel, DeliveryMethod.PICKUP)
        at = self._outlets.index.get(node, -1)
        return int(units[here.nodes == at].sum())


async def open_sale(
    conn: AsyncConnection,
    pool: Mapping[str, int],
    *,
    pickups: Collection[str] = (),
    kits: Collection[Bundle] = (),
    nodes: Collection[str] = (),
) -> Sale:
    """
    The sale of the SKUs of `pool`: what is available of each, of rows that this transaction locks.

    Shelves are read only of the SKUs of `pickups`, those that `kits` are of, and of those from
    which rules or nodes that do not ship hold something back. `nodes` are those to which more may
    come (`Sale.after`).
    """
    own = {kit.sku for kit in kits}
    row = (await conn.execute(_RULED, {"skus": [*pool, *own]})).mappings().one()
    known = Known.of_row(row)
    rules = {sku: known.of(sku) for sku in pool}
    all_of_them = bool(known.visibility())
    looked_at = {*pickups, *row["unshipped"], *(sku for kit in kits for _, sku, _ in kit.parts)}
    wanted = [s for s in pool if all_of_them or s in looked_at or _hold_back(rules[s])]
    shelves = []
    outlets = Outlets([], known.visibility())
    positions = {sku: replace(NOTHING, pool=pool[sku], rules=rules[sku]) for sku in pool}
    if wanted:
        shelves = await _shelves(conn, wanted, outlets, rules)
    if codes := {code for shelf in shelves for code in shelf.nodes or ()} | set(nodes):
        outlets = Outlets(await _outlets(conn, sorted(codes)), known.visibility())
    for shelf in shelves:
        made = position(outlets, shelf, rules[shelf.sku])
        positions[shelf.sku] = replace(made, pool=pool[shelf.sku])
    rules_of_kits = {sku: replace(NOTHING, rules=known.of(sku)) for sku in own}
    return Sale(outlets, rules_of_kits | positions)


def offer_of(
    outlets: Outlets,
    positions: Mapping[str, Position],
    kit: Kit,
    channel: str,
    method: DeliveryMethod,
) -> Offer:
    """What a channel may have of a kit, by the positions of it and of its components."""
    parts = [(positions.get(c.sku, NOTHING), c.quantity) for c in kit.components]
    own = positions.get(kit.sku, NOTHING)
    return kit_offer(outlets, own, parts, channel, method, together=kit.together)


async def outlets(conn: AsyncConnection) -> list[Outlet]:
    """Every node, by code."""
    rows = await conn.execute(text(f"{_OUTLETS} ORDER BY code"))
    return [Outlet(*row) for row in rows]


async def positions(
    conn: AsyncConnection, outlets: Outlets, known: Known, skus: Collection[str]
) -> dict[str, Position]:
    """
    The SKUs as they are now, in whatever transaction this is. `outlets` are all nodes.
    """
    rules = {sku: known.of(sku) for sku in skus}
    return {
        shelf.sku: position(outlets, shelf, rules[shelf.sku])
        for shelf in await _shelves(conn, list(rules), outlets, rules)
    }


def safety_at(known: Known, skus: Iterable[str], codes: Iterable[str]) -> dict[str, dict[str, int]]:
    """The safety stock by SKU and node, where there is any."""
    here = Outlets([Outlet(code, online=True, ships=True, pickup=True) for code in codes])
    found = {}
    for sku in skus:
        if rules := known.of(sku):
            kept = safety_stock(here, rules).tolist()
            found[sku] = {
                code: units for code, units in zip(here.codes, kept, strict=True) if units
            }
    return found


async def beyond_safety(conn: AsyncConnection, shelves: Shelves) -> dict[tuple[str, str], int]:
    """What each of these has free beyond its safety stock; below 0 where it has less than that."""
    skus, codes = {sku for sku, _ in shelves}, {node for _, node in shelves}
    safety = safety_at(await stock_rules.known(conn, skus), skus, codes)
    return {
        (sku, node): shelf.free - safety.get(sku, {}).get(node, 0)
        for (sku, node), shelf in shelves.items()
    }


def position(outlets: Outlets, shelf: Any, rules: tuple[Rule, ...]) -> Position:
    """From a row of shelves."""
    nodes = np.array([outlets.index[code] for code in shelf.nodes or ()], dtype=np.intp)
    return Position(
        pool=shelf.pool,
        nodes=nodes,
        on_hand=np.array(shelf.on_hand or (), dtype=np.int64),
        allocated=np.array(shelf.allocated or (), dtype=np.int64),
        safety=safety_stock(outlets, rules)[nodes],
        rules=rules,
        promised=shelf.promised or {},
        held=shelf.held or {},
    )


def _hold_back(rules: Iterable[Rule]) -> bool:
    """Whether more than the pool and the threshold has to be looked at."""
    kinds = {rule.kind for rule in rules}
    return bool(kinds & {RuleKind.SAFETY, RuleKind.CAP, RuleKind.GUARANTEE})


async def _shelves(
    conn: AsyncConnection, skus: list[str], outlets: Outlets, rules: Mapping[str, tuple[Rule, ...]]
) -> list[Any]:
    apart = [tells_apart(outlets, rules[sku]) for sku in skus]
    return list(await conn.execute(_SHELVES, {"skus": skus, "apart": apart}))


async def _outlets(conn: AsyncConnection, codes: list[str]) -> list[Outlet]:
    rows = await conn.execute(
        text(f"{_OUTLETS} WHERE code = ANY(:codes) ORDER BY code"), {"codes": codes}
    )
    return [Outlet(*row) for row in rows]
