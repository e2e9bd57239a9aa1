"""Stock rules: kept, logged, listed, and found again for the products that they concern."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, NamedTuple

from sqlalchemy import RowMapping, any_, delete, func, insert, literal, select, text, tuple_
from sqlalchemy.dialects.postgresql import insert as upsert
from sqlalchemy.ext.asyncio import AsyncConnection

from domain.errors import Invalid
from domain.network import Product
from domain.stock_rules import Rule, RuleKind, Subject
from storage import ledger
from storage.tables import nodes, stock_rule_log, stock_rules

_SUBJECT: Final = ("kind", "channel", "node", "sku", "category")
_SAYS: Final = ("units", "percent", "ship", "pickup")

# The rules that may concern some SKUs, and these SKUs' categories: two columns of any statement.
KNOWN: Final = """
  (SELECT coalesce(jsonb_agg(jsonb_build_array(
     kind, channel, node, sku, category, units, percent, ship, pickup)), '[]')
   FROM stock_rules WHERE sku = ANY(:skus) OR (sku = '' AND (category = '' OR category IN
     (SELECT body ->> 'category' FROM products WHERE sku = ANY(:skus))))) AS rules,
  (SELECT coalesce(jsonb_object_agg(sku, body ->> 'category'), '{}')
   FROM products WHERE sku = ANY(:skus) AND body ->> 'category' <> '') AS categories
"""


class KeptRule(Rule):
    """A rule, with who made it so and when."""

    actor: str
    at: datetime


class Key(NamedTuple):
    """What a rule speaks of, as its row's key; rules are listed in the order of it."""

    kind: str
    channel: str
    node: str
    sku: str
    category: str


@dataclass(frozen=True)
class Known:
    """The rules that may concern some SKUs."""

    rules: tuple[Rule, ...]
    categories: Mapping[str, str]

    @classmethod
    def of_row(cls, row: RowMapping) -> "Known":
        """From the columns of `KNOWN`."""
        rules = (
            Rule.model_construct(
                **dict(zip((*_SUBJECT, *_SAYS), (RuleKind(kind), *rest), strict=True))
            )
            for kind, *rest in row["rules"]
        )
        return cls(tuple(rules), row["categories"])

    def visibility(self) -> list[Rule]:
        return [rule for rule in self.rules if rule.kind is RuleKind.VISIBILITY]

    def of(self, sku: str) -> tuple[Rule, ...]:
        """Those that concern this SKU, without visibility, which concerns all."""
        category = self.categories.get(sku, "")
        return tuple(
            rule
            for rule in self.rules
            if rule.kind is not RuleKind.VISIBILITY and rule.concerns(sku, category)
        )


async def known(conn: AsyncConnection, skus: Collection[str]) -> Known:
    row = await conn.execute(text(f"SELECT {KNOWN}"), {"skus": list(set(skus))})
    return Known.of_row(row.mappings().one())


async def put(
    conn: AsyncConnection, rules: Sequence[Rule], actor: str, *, removed: Sequence[Subject] = ()
) -> int:
    """
    Have these rules hold, each in place of one on the same subject, and none on the `removed`.

    Answers how many were removed. Whoever reserves what they concern ends first, or obeys them:
    whoever was short by the old ones is then seen as waiting. Raises Invalid(node).
    """
    gone = await _remove(conn, removed, actor)
    await _put(conn, rules, actor)
    named = {subject.sku for subject in (*rules, *removed)}
    await ledger.hold_pool(conn, None if "" in named else named)
    return gone


async def listed(  # noqa: PLR0913 - the filters of a search
    conn: AsyncConnection,
    *,
    kind: RuleKind | None = None,
    channel: str | None = None,
    node: str | None = None,
    sku: str | None = None,
    after: Key | None = None,
    limit: int = 100,
) -> tuple[KeptRule, ...]:
    """The rules by subject; a filter finds those that name just that, "" those that name none."""
    filters = {"kind": kind, "channel": channel, "node": node, "sku": sku}
    query = select(stock_rules).where(
        *(stock_rules.c[name] == said for name, said in filters.items() if said is not None)
    )
    if after is not None:
        query = query.where(tuple_(*_KEY) > tuple_(*after))
    rows = await conn.execute(query.order_by(*_KEY).limit(limit))
    return tuple(KeptRule.model_validate(dict(row)) for row in rows.mappings())


async def check_nodes(conn: AsyncConnection, named: Mapping[str, str]) -> None:
    """Raises Invalid, with the field, where one names a node that is not there. Empty is any."""
    query = select(nodes.c.code).where(nodes.c.code == any_(literal(sorted(set(named.values())))))
    there = {"", *(await conn.execute(query)).scalars()}
    for field, code in named.items():
        if code not in there:
            cure = f"describe it first, with PUT /v1/nodes/{code}"
            raise Invalid(f"{field}: there is no node {code}; {cure}")


async def note_products(conn: AsyncConnection, products: Sequence[Product]) -> None:
    """
    Log the products whose category is about to change, since other rules will concern them, or of
    which a kit is made otherwise: so that all who read what may be sold see it anew.
    """
    made_of = [p.model_dump_json(include={"components", "ships_together"}) for p in products]
    await conn.execute(
        text(
            "INSERT INTO stock_rule_log (kind, sku, category, actor)"
            " SELECT 'category', d.sku, d.category, 'crossdock'"
            " FROM unnest(CAST(:skus AS text[]), CAST(:categories AS text[]),"
            " CAST(:made_of AS jsonb[])) AS d (sku, category, made_of)"
            " LEFT JOIN products AS p ON p.sku = d.sku"
            " WHERE coalesce(p.body ->> 'category', '') <> d.category"
            " OR (p.body -> 'components' <> '[]' OR d.made_of -> 'components' <> '[]')"
            " AND (p.body -> 'components', p.body -> 'ships_together') IS DISTINCT FROM"
            " (d.made_of -> 'components', d.made_of -> 'ships_together') ORDER BY d.sku"
        ),
        {
            "skus": [product.sku for product in products],
            "categories": [product.category for product in products],
            "made_of": made_of,
        },
    )


_KEY: Final = tuple(stock_rules.c[name] for name in _SUBJECT)


def key_of(subject: Subject) -> Key:
    return Key(subject.kind, subject.channel, subject.node, subject.sku, subject.category)


async def _put(conn: AsyncConnection, rules: Sequence[Rule], actor: str) -> None:
    if not rules:
        return
    await check_nodes(conn, {f"rules.{n}.node": rule.node for n, rule in enumerate(rules)})
    rows = {key_of(rule): {**_columns(rule), "actor": actor} for rule in rules}
    statement = upsert(stock_rules)
    await conn.execute(
        statement.on_conflict_do_update(
            index_elements=list(_SUBJECT),
            set_={n: statement.excluded[n] for n in (*_SAYS, "actor")} | {"at": func.now()},
        ),
        [rows[key] for key in sorted(rows)],
    )
    await _log(conn, {key_of(rule): rule for rule in rules}.items(), actor)


async def _remove(conn: AsyncConnection, subjects: Iterable[Subject], actor: str) -> int:
    removed = await conn.execute(
        delete(stock_rules)
        .where(tuple_(*_KEY).in_([key_of(subject) for subject in subjects]))
        .returning(*_KEY)
    )
    keys = [Key(*row) for row in removed]
    await _log(conn, [(key, None) for key in keys], actor)
    return len(keys)


def _columns(rule: Rule) -> dict[str, Any]:
    return {name: getattr(rule, name) for name in (*_SUBJECT, *_SAYS)}


async def _log(
    conn: AsyncConnection, changes: Iterable[tuple[Key, Rule | None]], actor: str
) -> None:
    rows = [
        {
            **key._asdict(),
            "said": None if rule is None else rule.model_dump(include=set(_SAYS)),
            "actor": actor,
        }
        for key, rule in changes
    ]
    if rows:
        await conn.execute(insert(stock_rule_log), rows)
