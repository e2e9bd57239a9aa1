"""Rule sets from the command line, on a real database; what is wrong is one clear line."""

import asyncio
import base64
import json
from pathlib import Path

import pytest
from sqlalchemy import text
from typer.testing import CliRunner, Result

from cli import app as entry
from cli.app import _line
from domain.network import Product, RateCard, Zone
from domain.orders import Address
from domain.rules.documents import dump, load
from storage import database, network, stock
from storage.database import transaction
from tests.domain.rules.written import a_profile, a_rule, leads_to, rules
from tests.samples import a_node, an_order

CLI = Path(__file__).parents[2] / "cli"


@pytest.fixture
def shop(postgres_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two nodes with three units of A each, and no rules."""
    monkeypatch.setenv("CROSSDOCK_DATABASE_URL", postgres_url)
    monkeypatch.setenv("CROSSDOCK_KEYS", f'{{"k1": "{base64.b64encode(bytes(32)).decode()}"}}')
    monkeypatch.setenv("CROSSDOCK_ACTIVE_KEY", "k1")
    monkeypatch.setenv("CROSSDOCK_SESSION_SECRET", "a long enough secret")
    monkeypatch.setenv("COLUMNS", "200")
    asyncio.run(_stock(postgres_url))


async def _stock(url: str) -> None:
    engine = database.engine(url)
    zone = Zone(max_miles=5000, base_minor=500, per_lb_minor=10, transit_days=3)
    async with transaction(engine) as conn:
        await conn.execute(text("TRUNCATE rule_sets, rule_set_log RESTART IDENTITY"))
        await network.put_products(conn, [Product(sku="A")])
        card = RateCard(service="ground", carrier="ups", zones=(zone,))
        await network.put_rate_cards(conn, [card])
        for code in ("DC-A", "DC-B"):
            await network.put_node(conn, a_node(code))
            await stock.receive(conn, code, code, [("A", 3)], "receipt", "test")
    await engine.dispose()


def say(*words: str, given: str | None = None) -> Result:
    return CliRunner().invoke(entry.app, ["rules", *words], input=given)


def refused(*words: str, given: str | None = None) -> str:
    """The one line that the command says no with."""
    said = say(*words, given=given)
    assert said.exit_code == 1
    assert said.exception is not None
    return _line(said.exception)


@pytest.mark.usefixtures("shop")
def test_the_sample_rules_are_brought_in_shown_and_taken_out_the_same(tmp_path: Path) -> None:
    last = say("import", str(CLI / "sample_rules_last.yaml"), "--activate")
    assert last.output == "last-resort@1 is active\n"
    draft = say("import", str(CLI / "sample_rules.yaml"))
    assert draft.output == "standard@1 is a draft\n"
    assert say("activate", "standard@1", "--note", "go").output == "standard@1 is active\n"
    listed = say("list").output
    assert "standard@1" in listed
    assert "last-resort@1" in listed
    written = tmp_path / "out.yaml"
    assert say("export", "standard", "-o", str(written)).output == f"standard@1 is in {written}\n"
    assert load(written.read_text()) == load((CLI / "sample_rules.yaml").read_text())
    again = say("import", "-", given=say("export", "standard@1").output)
    assert again.output == "standard@1 is active\n"
    shown = say("show", "standard").output
    assert shown.startswith("# standard@1: active, saved by crossdock rules\n")
    assert "standard@1 activated by crossdock rules: go\n" in shown
    assert json.loads(say("list", "standard", "--json").output)[0]["status"] == "active"
    assert "goes on to last-resort; archive it first" in refused("archive", "last-resort@1")
    assert say("archive", "standard@1").output == "standard@1 is archived\n"


@pytest.mark.usefixtures("shop")
def test_two_versions_and_a_file_are_compared(tmp_path: Path) -> None:
    file = tmp_path / "web.yaml"
    file.write_text(dump(rules("web", a_profile("all", a_rule("few", "max_nodes", value=2)))))
    say("import", str(file))
    assert (say("diff", "web", str(file)).output) == "the two say the same\n"
    file.write_text(dump(rules("web", a_profile("all", a_rule("few", "max_nodes", value=3)))))
    changed = say("diff", "web@1", str(file))
    assert (changed.exit_code, changed.output) == (1, "~ profiles[all].rules[few].value: 2 → 3\n")
    say("import", str(file))
    assert say("diff", "web@1", "web@2").output == changed.output
    file.write_text(dump(rules("web", a_profile("all", review=True))))
    assert "~ profiles[all].review: false → true\n" in say("diff", "web@2", str(file)).output
    (told,) = json.loads(say("diff", "web@1", "web@2", "--json").output)
    assert (told["before"], told["after"]) == (2, 3)


@pytest.mark.usefixtures("shop")
def test_what_is_wrong_is_one_line_with_field_and_cure(tmp_path: Path) -> None:
    written = dump(
        rules("web", a_profile("all", a_rule("few", "max_nodes", "order.totl > 1", value=2)))
    )
    assert refused("import", "-", given=written) == (
        "line 8: profiles.0.rules.0.when: line 1, column 6: there is no order.totl; did you mean"
        " order.total_minor?; in: order.totl > 1"
    )
    lost = dump(rules("web", a_profile(**leads_to("none"))))
    assert "profiles.0.outcomes.partial.0.next: there is no rule set none" in refused(
        "import", "-", given=lost
    )
    binary = tmp_path / "x.yaml"
    binary.write_bytes(b"\xff\xfe")
    assert refused("import", str(binary)) == f"{binary}: is not text in UTF-8"
    assert refused("import", "none.yaml") == "none.yaml: No such file or directory"
    assert refused("show", "none") == "there is no rule set none"
    assert refused("show", "web@x") == "web@x: write NAME or NAME@VERSION, such as web-standard@3"
    assert "say which version, such as web@1" in refused("activate", "web")
    for command in ("activate", "archive"):
        assert "NAME, or" not in say(command, "--help").output
    assert refused("try", "web-none") == "there is no order web-none"
    assert refused("try", "none.json") == "none.json: No such file or directory"
    typo = dump(rules("web", a_profile("all", channels=["weeb"])))
    told = say("import", "-", given=typo).output
    assert told == "web@1 is a draft\ncareful: profiles.0.channels.0: there is no channel weeb\n"
    assert len(json.loads(say("list", "--json").output)) == 1


@pytest.mark.usefixtures("shop")
def test_an_invented_order_is_tried(tmp_path: Path) -> None:
    near = a_rule("near", "exclude", 'node.code == "DC-A"')
    far = a_rule("far", "exclude", 'node.code == "DC-X"')
    queue = {"then": "queue", "queue": "care"}
    outcomes = {"partial": [queue], "nothing": [queue]}
    say("import", "-", given=dump(rules("web", a_profile("all", near, far, outcomes=outcomes))))
    order = an_order(ship_to=Address(postal_code="75202", country="US", region="TX"))
    file = tmp_path / "order.json"
    file.write_text(order.model_dump_json())
    told = say("try", str(file), "--with", "web@1").output
    assert "web@1, profile all, objective lowest_cost" in told
    assert 'near when node.code == "DC-A": met for DC-A' in told
    assert 'far when node.code == "DC-X": not met\n' in told
    assert "3 units from DC-" in told
    assert told.endswith("nothing was written\n")
    lines = (order.lines[0].model_copy(update={"quantity": 99}),)
    file.write_text(order.model_copy(update={"lines": lines}).model_dump_json())
    assert "units find no node: queue care" in say("try", str(file), "--with", "web").output
    plain = say("try", str(file)).output
    assert plain.startswith("no profile matches the order: the built-in policy holds\n")
    as_json = json.loads(say("try", str(file), "--with", "web", "--json").output)
    assert as_json["judged"]["policy"]["constraints"][0]["nodes"] == ["DC-A"]
    file.write_text("{}")
    assert refused("try", str(file)).startswith("channel: ")
