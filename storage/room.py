"""What there is to take for one ask after the other, and what each may have of it."""

from collections import Counter
from collections.abc import Mapping, Sequence

from sqlalchemy.ext.asyncio import AsyncConnection

from storage import availability, ledger
from storage.asks import Ask, Line
from storage.availability import Bundle, Sale
from storage.carts import Cart, Carts
from storage.ledger import NodeNow, Shelves


class Room:
    """What is there to take, counted down as it is taken. The `places` are locked."""

    def __init__(self, sale: Sale, places: Mapping[str, NodeNow], shelves: Shelves) -> None:
        self.places = places
        self._sale = sale
        self._short = Counter({place: shelf.short for place, shelf in shelves.items()})

    @classmethod
    async def locked(cls, conn: AsyncConnection, asks: Sequence[Ask], carts: Carts) -> "Room":
        """Makes the rows of what never was in stock: see `ledger.open_pool`."""
        skus = {line.sku for ask in asks for line in ask.lines} | carts.skus
        shelves = carts.shelves | {
            (line.sku, ask.node) for ask in asks if ask.node is not None for line in ask.lines
        }
        places = await ledger.lock_nodes(conn, {node for _, node in shelves})
        pool = await ledger.open_pool(conn, skus)
        found = await ledger.lock_stock(conn, shelves)
        pickups, kits = {sku for sku, _ in shelves}, {kit for ask in asks for kit in ask.kits}
        sale = await availability.open_sale(conn, pool, pickups=pickups, kits=kits)
        return cls(sale, places, found)

    def beyond(
        self, ask: Ask, held: Mapping[str, int], cart: Cart | None
    ) -> tuple[dict[str, int], dict[str, dict[str, int]]] | None:
        """
        What is there by line besides what is held for the ask, its cart's units among it, and what
        is still missing, by SKU and line. None where all is there, but its kits are nowhere whole.
        """
        own = self._freed(cart)
        where = cart.node if cart else None
        self._give(own, ask.channel, where)
        kept = Counter(own if where == ask.node else {})
        there: dict[str, int] = {}
        missing: dict[str, dict[str, int]] = {}
        for line in ask.lines:
            wanted = line.quantity - held.get(line.line_id, 0)
            left = self._sale.left(line.sku, ask.channel, ask.node)
            units = min(wanted, max(left, kept[line.sku]))
            if units:
                there[line.line_id] = units
                kept[line.sku] -= units
                self._sale.took(line.sku, ask.channel, units, ask.node)
            if wanted > units:
                missing.setdefault(line.sku, {})[line.line_id] = wanted - units
        if ask.kits and not missing:
            for line in ask.lines:
                self._sale.took(line.sku, ask.channel, -line.quantity, ask.node)
            if lacking(self._sale, ask):
                return None
        return there, missing

    def take(self, ask: Ask, cart: Cart | None) -> tuple[list[Line] | None, dict[str, int]]:
        """The lines to write, None where nothing may be taken, and what is missing."""
        own = self._freed(cart)
        where = cart.node if cart else None
        self._give(own, ask.channel, where)
        if ask.kits:
            lines, missing = self._take_kits(ask)
        else:
            lines, missing = self._found(ask, own if where == ask.node else {})
        if lines is None:
            self._give({sku: -units for sku, units in own.items()}, ask.channel, where)
        elif cart and where is not None:  # what it was short of is not there for the next one
            for sku, units in cart.units.items():
                self._short[sku, where] = max(self._short[sku, where] - units, 0)
        return lines, missing

    def _freed(self, cart: Cart | None) -> dict[str, int]:
        """What of it is there to take: nothing where its node is down or short of just these."""
        if cart is None or cart.fate != "taken":
            return {}
        node = cart.node
        if node is None or not cart.units:
            return cart.units
        if not self.places[node].online:
            return {}
        there = {sku: units - self._short[sku, node] for sku, units in cart.units.items()}
        return {sku: units for sku, units in there.items() if units > 0}

    def _give(self, units: Mapping[str, int], channel: str, node: str | None) -> None:
        for sku, quantity in units.items():
            self._sale.took(sku, channel, -quantity, node)

    def _found(self, ask: Ask, kept: Mapping[str, int]) -> tuple[list[Line] | None, dict[str, int]]:
        """What was `kept` for the ask it may have, whatever is held back or was sold since."""
        taken: Counter[str] = Counter()
        missing: Counter[str] = Counter()
        lines = []
        for line in ask.lines:
            left = self._sale.left(line.sku, ask.channel, ask.node)
            left = max(left, kept.get(line.sku, 0)) - taken[line.sku]
            units = min(line.quantity, left)
            taken[line.sku] += units
            if short := line.quantity - units:
                missing[line.sku] += short
            lines.append(line._replace(quantity=units, missing=short))
        if missing and not (ask.partial and taken.total()):
            return None, dict(missing)
        for sku, units in (+taken).items():
            self._sale.took(sku, ask.channel, units, ask.node)
        return lines, dict(missing)

    def _take_kits(self, ask: Ask) -> tuple[list[Line] | None, dict[str, int]]:
        """The same for kits, each whole, and then for what else is wanted."""
        sale, mark = self._sale, self._sale.mark()
        given: Counter[str] = Counter()
        in_kits: Counter[str] = Counter()
        lacking: Counter[str] = Counter()
        for kit in ask.kits:
            kits = min(kit.kits, sale.kits_left(kit, ask.channel, ask.node))
            if kits < kit.kits:
                lacking.update(_lacking(sale, ask, kit, kits))
            for line_id, sku, per_kit in kit.parts:
                in_kits[line_id] += kit.kits * per_kit
                if kits:
                    given[line_id] += kits * per_kit
                    sale.took(sku, ask.channel, kits * per_kit, ask.node)
        for line in ask.lines:
            loose = line.quantity - in_kits[line.line_id]
            units = min(loose, sale.left(line.sku, ask.channel, ask.node)) if loose else 0
            if units < loose:
                lacking[line.sku] += loose - units
            if units:
                given[line.line_id] += units
                sale.took(line.sku, ask.channel, units, ask.node)
        if lacking and not (ask.partial and given.total()):
            sale.back(mark)
            return None, dict(lacking)
        lines, missing = [], Counter[str]()
        for line in ask.lines:
            units = given[line.line_id]
            lines.append(line._replace(quantity=units, missing=line.quantity - units))
            missing[line.sku] += line.quantity - units
        return lines, dict(+missing)


def lacking(sale: Sale, ask: Ask) -> dict[str, int]:
    """What would be missing, by SKU, if this were asked of the sale; it stays as it is."""
    mark = sale.mark()
    _, missing = Room(sale, {}, {}).take(ask, None)
    sale.back(mark)
    return missing


def _lacking(sale: Sale, ask: Ask, kit: Bundle, there_are: int) -> dict[str, int]:
    """
    What more of each component would do; of all of them where each alone is there, but not
    together at a node.
    """
    short = {
        sku: max(kit.kits * per_kit - sale.left(sku, ask.channel, ask.node), 0)
        for _, sku, per_kit in kit.parts
    }
    if any(short.values()):
        return {sku: units for sku, units in short.items() if units}
    return {sku: (kit.kits - there_are) * per_kit for _, sku, per_kit in kit.parts}
