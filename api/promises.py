"""Promises: what a cart would cost and when it would come; and the token that holds one to it."""

from __future__ import annotations

import secrets
from collections import Counter
from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Final, NamedTuple, TypeVar

from fastapi import APIRouter

from api import sold
from api.problems import Forbidden, Unfit
from api.quoted import QuoteCart, Ruled
from api.reservations import Door
from api.security import WritesOrders, actor, sees_order
from api.services import Services, Serving
from api.solving import solved
from domain import supply
from domain.errors import Invalid
from domain.geography import locate
from domain.orders import DeliveryMethod, Order, reservation_id
from domain.promises import Promise, destination, promised_packages, units_by_sku
from domain.quoting import Cart, Cutoff, Offer, Quote, ShipOption, quote
from domain.supply import Coming
from storage import availability, open_orders, promises, rules, snapshot, stock, supplies
from storage.asks import Ask
from storage.availability import Sale
from storage.batching import Batcher
from storage.database import transaction
from storage.room import lacking
from storage.snapshot import Snapshot

AnOffer = TypeVar("AnOffer", bound=Offer)

router = APIRouter(prefix="/v1/promises", tags=["promises"])

_CLOSE_ENOUGH: Final = frozenset({"zip3", "state"})


@router.post("")
async def promise(body: QuoteCart, access: WritesOrders, services: Serving, door: Door) -> Quote:
    """
    Quote a cart: each service that ships it, and stores near by that have all or some of it.

    Every option is what the sourcing engine would decide for the order now: nodes, cost, dates, and
    until when they hold. Stock is read when asked, at `stock_as_of`. A cart that is short is quoted
    as of when supply that is to come brings the rest: `available_from`. Nothing is written but the
    tokens, and nothing held but by `hold`, where asked for.
    """
    if not sees_order(access, body.channel):
        raise Forbidden(f"this key may not quote for channel {body.channel}")
    cart, now, may, ruled = await _read(services, body)
    made = await solved(lambda: _quoted(now, cart, may, ruled, services))
    if not made.ship and not made.pickup:
        raise Unfit(_no_option(body, cart, made), code="no_option")
    if body.token_seconds is None:
        return made
    if body.hold:
        made = made.model_copy(update={"reservation": await _held(door, body, cart, actor(access))})
    return await _with_tokens(services, body.channel, cart, made, body.token_seconds)


async def promised(services: Services, order: Order) -> Order:
    """
    The order with the date that it was promised, its promise claimed for it; as it is without one.

    Raises Unfit, naming `promise_token` and the cure, where the promise is not the order's.
    """
    if not order.promise_token:
        return order
    async with transaction(services.engine) as conn:
        try:
            dated = await promises.dated(conn, order, services.clock())
        except Invalid as no:
            raise Unfit({"promise_token": str(no)}, code=no.code) from no
    if order.deliver_by not in (None, dated.deliver_by):
        message = f"leave it out: the promise is for {dated.deliver_by:%Y-%m-%dT%H:%M:%SZ}"
        raise Unfit({"deliver_by": message}, code="promise_mismatch")
    return dated


class Sellable(NamedTuple):
    """
    What the channel may sell now: units by SKU, and by store and SKU. And what is still to come to
    nodes that ship for it, and nobody waits for; the `sale` tells what may be sold then.
    """

    to_ship: dict[str, int]
    at_stores: dict[str, dict[str, int]]
    coming: dict[str, tuple[Coming, ...]]
    sale: Sale
    ask: Ask


async def _read(services: Services, body: QuoteCart) -> tuple[Cart, Snapshot, Sellable, Ruled]:
    """
    The cart by the catalogue's names, what the network and its stock are now, what rules say of it.
    """
    async with transaction(services.read_engine) as conn:
        lines = await sold.units_of(conn, body.lines, body.line_ids())
        ask = Ask("quote", None, lines, channel=body.channel)
        skus = sorted({line.sku for line in lines})
        now = await snapshot.sourcing(conn, skus, body.channel)
        pickup = DeliveryMethod.PICKUP in body.methods
        pool = await stock.balance(conn, skus)
        stocked = skus if pickup else ()
        coming = await supplies.unclaimed(conn, skus)
        active = await rules.active(conn)
        open_now = await open_orders.by_node_for(conn, active)
        sale = await availability.open_sale(
            conn,
            pool,
            pickups=stocked,
            kits=ask.kits,
            nodes={c.node for some in coming.values() for c in some},
        )
    ships = {n.code for n in now.nodes if n.ships and n.status == "online"} - now.hidden.keys()
    may = Sellable(
        to_ship=_to_ship(sale, ask, skus),
        at_stores={
            node.code: {sku: sale.left(sku, body.channel, node.code) for sku in skus}
            for node in now.nodes
            if node.pickup and pickup
        },
        coming={sku: tuple(c for c in coming[sku] if c.node in ships) for sku in skus},
        sale=sale,
        ask=ask,
    )
    cart = Cart(
        lines=lines,
        ship_to=body.ship_to,
        methods=body.methods,
        stores=body.stores,
        within_miles=body.within_miles,
    )
    return cart, now, may, Ruled(body, cart, now, active, open_now, services.clock())


def _to_ship(sale: Sale, ask: Ask, skus: Iterable[str]) -> dict[str, int]:
    """Units of each SKU that an order could reserve; of a cart with kits, as kits allow."""
    left = {sku: sale.left(sku, ask.channel) for sku in skus}
    if not ask.kits:
        return left
    wanted: Counter[str] = Counter()
    for line in ask.lines:
        wanted[line.sku] += line.quantity
    missing = lacking(sale, ask)
    return left | {sku: min(left[sku], wanted[sku] - units) for sku, units in missing.items()}


def _quoted(now: Snapshot, cart: Cart, may: Sellable, ruled: Ruled, services: Services) -> Quote:
    _located(cart)
    made = quote(
        now,
        cart,
        sellable=may.to_ship,
        pickable=may.at_stores,
        as_of=ruled.as_of,
        solve=services.solve,
        policies=ruled.policies,
        known=ruled.known,
    )
    if made.ship or DeliveryMethod.SHIP not in cart.methods:
        return made
    return made.model_copy(update={"ship": _later(now, cart, may, ruled, services)})


def _later(
    now: Snapshot, cart: Cart, may: Sellable, ruled: Ruled, services: Services
) -> tuple[ShipOption, ...]:
    """What ships the cart once what is to come is there: the same dry run, as of that instant."""
    as_of = ruled.as_of
    wanted, skus = units_by_sku(cart.lines), sorted(may.to_ship)

    def sellable(arrived: supply.Arrivals) -> dict[str, int]:
        return _to_ship(may.sale.after(arrived), may.ask, skus)

    def enough(arrived: supply.Arrivals) -> bool:
        units = sellable(arrived)
        return all(units[sku] >= quantity for sku, quantity in wanted.items())

    there = supply.whole_by(as_of, may.coming, enough)
    if there is None or there <= as_of:
        return ()
    ahead = now.model_copy(
        update={
            "stock": supply.arrived(now.stock, may.coming, there),
            "capacity_left": {
                n.code: n.capacity_per_day for n in now.nodes if n.capacity_per_day is not None
            },
            "units_left": {
                n.code: n.units_per_day for n in now.nodes if n.units_per_day is not None
            },
        }
    )
    made = quote(
        ahead,
        cart.model_copy(update={"methods": (DeliveryMethod.SHIP,)}),
        sellable=sellable(supply.arrivals(may.coming, there)),
        as_of=there,
        solve=services.solve,
        policies=ruled.policies,
        known=ruled.known,
    )
    return tuple(
        option.model_copy(
            update={
                "available_from": there,
                "cutoff": Cutoff(
                    at=option.cutoff.at, seconds=int((option.cutoff.at - as_of).total_seconds())
                ),
            }
        )
        for option in made.ship
    )


def _located(cart: Cart) -> None:
    """A US code must be one we know, or stand with a state that says about where it is."""
    address = cart.ship_to
    place = locate(address.postal_code, address.country, address.region)
    if place is None or place.precision == "zip":
        return
    if address.region and place.precision in _CLOSE_ENOUGH:
        return
    code = address.postal_code or "none"
    cure = "correct it, or name the state in ship_to.region to be quoted for about there"
    message = f"{code} is no postal code that we know of; {cure}"
    raise Unfit({"ship_to.postal_code": message}, code="unknown_postal_code")


def _no_option(body: QuoteCart, cart: Cart, made: Quote) -> dict[str, str]:
    """Why nothing can be offered, by line."""
    sold = {line.line_id: line.kit.line_id for line in cart.lines if line.kit}
    by_id = {
        sold.get(shortage.line_id, shortage.line_id): shortage.reason for shortage in made.short
    }
    wanted = {f"lines.{i}": by_id.get(name) for i, name in enumerate(body.line_ids())}
    reasons = {field: reason for field, reason in wanted.items() if reason}
    if not reasons and sold:
        none = "no node that may ship it there has the kit whole; ask for fewer"
        kit = {f"lines.{i}" for i, name in enumerate(body.line_ids()) if name in sold.values()}
        reasons = dict.fromkeys(sorted(kit), none)
    if DeliveryMethod.PICKUP in body.methods:
        none = f"no store within {body.within_miles} miles has any of it"
        return {f: f"{r}; {none}" for f, r in reasons.items()} or dict.fromkeys(
            wanted, f"{none}; widen within_miles, or ask for `ship` too"
        )
    return reasons


async def _held(door: Batcher, body: QuoteCart, cart: Cart, by: str) -> str | None:
    """The key of a reservation of the whole cart; None where not all of it can be had now."""
    key = f"hold-{secrets.token_urlsafe(18)}"
    answer = await door.reserve(
        Ask(
            reservation_id(body.channel, key),
            None,
            cart.lines,
            channel=body.channel,
            actor=by,
            ttl=timedelta(seconds=body.token_seconds or 0),
            digest="held with a quote",
        )
    )
    return key if answer.taken else None


async def _with_tokens(
    services: Services, channel: str, cart: Cart, made: Quote, seconds: int
) -> Quote:
    """The quote with a token for every option that has a plan, written down."""
    lasts = made.as_of + timedelta(seconds=seconds)
    ship = tuple(_with_token(option, lasts) for option in made.ship)
    pickup = tuple(_with_token(option, lasts) for option in made.pickup)
    dated = [(o, o.deliver_latest) for o in ship] + [(o, o.ready_by) for o in pickup]
    skus = {line.line_id: line.sku for line in cart.lines}
    kept = [
        Promise(
            token=offer.token,
            channel=channel,
            method=offer.method,
            destination=destination(cart.ship_to),
            units=units_by_sku(cart.lines),
            packages=promised_packages(offer.packages, skus),
            deliver_by=date,
            cutoff=offer.cutoff.at,
            quoted_at=made.as_of,
            expires_at=offer.token_expires_at,
            reservation=made.reservation or "",
        )
        for offer, date in dated
        if offer.token and offer.token_expires_at
    ]
    if kept:
        async with transaction(services.engine) as conn:
            await promises.keep(conn, kept, made.as_of)
    return made.model_copy(update={"ship": ship, "pickup": pickup})


def _with_token(offer: AnOffer, lasts: datetime) -> AnOffer:
    """
    The offer with a token that ends at its cut-off at the latest; none where it has no plan, or one
    for goods that are still to come.
    """
    if not offer.packages or offer.available_from is not None:
        return offer
    until = min(lasts, offer.cutoff.at)
    token = f"pr_{secrets.token_urlsafe(18)}"
    return offer.model_copy(update={"token": token, "token_expires_at": until})
