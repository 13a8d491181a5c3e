"""Freeze, thaw, rollback and repair as they are typed, with nothing running but the server."""

import asyncio
import json

import pytest

from enactor.fixed import FixedEnactor
from enactor.protocol import Tools
from enactor.settings import EnactorSettings
from fencepost.batch import ChangeBatch, create, delete
from fencepost.cli import run
from fencepost.client import stores
from fencepost.clock import SystemClock, stream
from fencepost.connect import open_zone_store
from fencepost.events import EventBus
from fencepost.names import lock_name
from fencepost.plan import Draft, Target, content
from fencepost.records import RecordSet
from fencepost.redis_client import open_client
from fencepost.stores import Actor

ZONE = "dynamodb.us-east-1.fencepost.test."


def value(count):
    """Return a content of `count` of the endpoint's load balancers."""
    return content(5, [Target(f"use1-az{n}-lb-001", "A", f"127.1.{n}.1", 10) for n in range(1, count + 1)])


@pytest.fixture
def system(redis_url, monkeypatch):
    """A region whose endpoint has had plans 1 and 2, found through the environment as `. RUN-DIR/env` sets it."""
    monkeypatch.setenv("FENCEPOST_REDIS_URL", redis_url)
    monkeypatch.setenv("COLUMNS", "200")

    async def prepare():
        settings = EnactorSettings(name="use1-az1-enactor", redis_url=redis_url, profile="none")
        async with stores(settings) as opened:
            for zone in opened.region.endpoint_names:
                await opened.zones.create_zone(zone, opened.region.zone_records(zone))
            zones = open_zone_store(settings, Actor(settings.name))
            tools = Tools.of(
                settings, plans=opened.plans, zones=zones, clock=SystemClock(), rng=stream(1), events=EventBus()
            )
            enactor = FixedEnactor(tools)
            for number in (1, 2):
                await opened.plans.publish(Draft({ZONE: value(number)}, f"plan {number}"), expected=number - 1)
                await enactor.tick()
            await zones.close()

    asyncio.run(prepare())
    return redis_url


def lock_and_unlock(url):
    """Take the zone's lock by itself, and give it back, as an enactor does that then finds nothing to do."""
    lock = RecordSet(lock_name(ZONE), "TXT", ttl=0, values=('"use1-az2-enactor 1792000000"',))

    async def work():
        zones = open_zone_store(EnactorSettings(name="use1-az2-enactor", redis_url=url), Actor("use1-az2-enactor"))
        for change in (create(lock), delete(lock)):
            await zones.change(ChangeBatch(ZONE, (change,)))
        await zones.close()

    asyncio.run(work())


def remove_zone(url):
    """Take a zone away altogether."""

    async def work():
        client = open_client(url)
        await client.delete(*[f"{{{ZONE}}}:{part}" for part in ("records", "order", "counts", "meta", "stream")])
        await client.aclose()

    asyncio.run(work())


def test_freeze_and_thaw_say_what_they_did_zone_by_zone(system, capsys, tmp_path):
    """A line for each zone, who and why, how to end it; and what there is when it is done twice."""
    path = tmp_path / "freeze.json"
    assert run(["freeze", "--why", "health checks lie", "--by", "ada", "--json", str(path)]) == 0
    said = capsys.readouterr().out
    assert said.count("frozen      ") == 7
    assert f"frozen      {ZONE} in " in said
    assert "nothing automated commits to any zone, and no plan is published any more" in said
    assert "`fencepost thaw` ends that" in said
    assert len(json.loads(path.read_text())["zones"]) == 6

    assert run(["freeze", "--by", "grace"]) == 0
    assert f"{ZONE} already, by ada since 20" in capsys.readouterr().out

    assert run(["thaw"]) == 0
    said = capsys.readouterr().out
    assert said.count("thawed      ") == 7
    assert "health checks lie" in said

    assert run(["thaw"]) == 0
    assert "nothing is frozen or held" in capsys.readouterr().out


def test_freeze_of_one_endpoint_and_its_thaw(system, capsys):
    """The name as people type it, without its dot."""
    assert run(["freeze", "--endpoint", ZONE.rstrip(".")]) == 0
    assert "nothing automated commits to this zone any more" in capsys.readouterr().out

    assert run(["thaw", "--endpoint", ZONE]) == 0
    assert f"thawed      {ZONE}" in capsys.readouterr().out
    assert run(["thaw", "--endpoint", ZONE]) == 0
    assert f"{ZONE} is not frozen or held" in capsys.readouterr().out


def test_freeze_that_is_not_complete_is_code_1_and_names_what_is_not_frozen(system, capsys):
    """Half of it is no freeze."""
    remove_zone(system)

    assert run(["freeze"]) == 1

    said = capsys.readouterr().out
    assert f"NOT FROZEN  {ZONE}: NoSuchHostedZone" in said
    assert "1 of 7 are not frozen" in said


def test_rollback_and_its_end(system, capsys):
    """From, to, and how to end it; `plan publish` does, too."""
    assert run(["rollback", ZONE, "--why", "plan 2 is wrong", "--by", "Ada Lovelace", "--wait", "0"]) == 0
    said = capsys.readouterr().out
    assert "rolled back from plan 2 to plan 1's content, as plan 3" in said
    assert f"`fencepost thaw --endpoint {ZONE}`" in said

    assert run(["plan", "history"]) == 0
    assert "Ada-Lovelace!" in capsys.readouterr().out
    assert run(["plan", "show"]) == 0
    assert "last forced by Ada-Lovelace in plan 3" in capsys.readouterr().out
    assert run(["thaw"]) == 0
    assert f"let go      {ZONE}, held by Ada-Lovelace since 20" in capsys.readouterr().out


def test_rollback_to_nowhere_is_code_1(system, capsys):
    """One line, and the remedy."""
    assert run(["rollback", ZONE, "--to", "99", "--wait", "0"]) == 1

    assert "plan 99 is not kept; the store has plans 1 to 2" in capsys.readouterr().err


def test_zone_show_tells_of_freeze_and_capacity(system, capsys, tmp_path):
    """Who, when, why; and what velocity control compares with."""
    run(["rollback", ZONE, "--wait", "0"])
    run(["freeze", "--endpoint", ZONE, "--by", "ada", "--why", "let me look"])
    capsys.readouterr()
    path = tmp_path / "zone.json"

    assert run(["zone", "show", ZONE, "--json", str(path)]) == 0

    said = capsys.readouterr().out
    assert "frozen by ada since 20" in said
    assert "capacity of A addresses: 10; the most within 30 s was 10" in said
    assert json.loads(path.read_text())["frozen"]["why"] == "let me look"


def test_history_tells_who_changed_what_by_which_plan_and_why(system, capsys, tmp_path):
    """From creation to thaw, in order, and the reasons of plans and people."""
    run(["freeze", "--endpoint", ZONE, "--by", "ada", "--why", "let me look"])
    run(["rollback", ZONE, "--wait", "0", "--by", "ada", "--why", "plan 2 is wrong"])
    run(["thaw", "--endpoint", ZONE, "--by", "grace"])
    capsys.readouterr()
    path = tmp_path / "history.json"

    assert run(["history", ZONE, "--json", str(path)]) == 0

    said = capsys.readouterr().out.splitlines()
    expected = (
        ("operator", "created the zone"),
        ("use1-az1-enactor", "built tree 1, 1 record set"),
        ("use1-az1-enactor", "-> plan 1"),
        ("use1-az1-enactor", "built tree 2, 2 record sets"),
        ("use1-az1-enactor", "plan 1 -> 2"),
        ("ada (operator)", "froze it"),
        ("ada (operator)", "built tree 3, 1 record set"),
        ("ada (operator)", "plan 2 -> 3, by hand (rollback to plan 1)"),
        ("grace (operator)", "thawed it; it was frozen by ada since"),
    )
    for line, words in zip(said, expected, strict=True):
        assert all(word in line for word in words), line
    assert "plan 3: rollback to plan 1: plan 2 is wrong (by ada, by force)" in said[7]
    assert json.loads(path.read_text())["complete"] is True

    assert run(["history", ZONE, "--limit", "2"]) == 0
    said = capsys.readouterr().out
    assert "earlier ones are not shown; --limit" in said
    assert "froze it" not in said


def test_history_tells_of_locks_only_if_all_is_wanted(system, capsys):
    """A lock that is taken and given back by itself changes nothing that anybody asks for."""
    lock_and_unlock(system)

    assert run(["history", ZONE]) == 0
    assert "use1-az2-enactor" not in capsys.readouterr().out

    assert run(["history", ZONE, "--all"]) == 0
    said = [line for line in capsys.readouterr().out.splitlines() if "use1-az2-enactor" in line]
    assert ["took or kept the lock" in said[0], "gave the lock back" in said[1]] == [True, True]


def test_history_of_a_trimmed_zone_says_from_where_on_it_is_kept(system, capsys):
    """The zone keeps its last commits only: what is told is right, and what is missing is said."""

    async def trim():
        client = open_client(system)
        await client.xtrim(f"{{{ZONE}}}:stream", maxlen=2, approximate=False)
        await client.aclose()

    asyncio.run(trim())

    assert run(["history", ZONE]) == 0

    said = capsys.readouterr().out
    assert "earlier commits are not kept: the zone has them from serial 4 on" in said
    assert "plan 1 -> 2" in said
    assert "tree 1" not in said


def test_repair_of_a_plan_that_takes_too_much_is_refused_until_it_is_forced(system, capsys, tmp_path):
    """A person is tired, too: a refused plan is not what `repair` is for."""
    path = tmp_path / "plan.json"
    targets = [{"identifier": f"use1-az1-lb-00{n}", "address": f"127.1.1.{n}"} for n in range(1, 7)]

    def publish(count, *options):
        path.write_text(json.dumps({"endpoints": {ZONE: {"targets": targets[:count]}}}))
        return run(["plan", "publish", str(path), *options])

    assert publish(6, "--force") == 0
    assert run(["repair", ZONE, "--wait", "0"]) == 0
    assert publish(2) == 1
    assert "--force" in capsys.readouterr().err
    assert publish(2, "--force", "--by", "ada") == 0
    assert "let pass by force: " in capsys.readouterr().out

    assert run(["repair", ZONE, "--wait", "0", "--by", "ada"]) == 0
    assert "to plan 4" in capsys.readouterr().out


@pytest.mark.parametrize("command", ["freeze", "thaw", "rollback", "repair", "history", "plan publish"])
def test_help_of_each_command_tells_its_exit_codes_or_what_it_shows(command, capsys):
    """`--help` suffices."""
    assert run([*command.split(), "--help"]) == 0

    said = capsys.readouterr().out
    assert "--redis-url" in said
    assert "--region" in said


def test_what_operators_do_is_in_the_log_of_the_system_that_their_shell_knows(system, tmp_path, monkeypatch):
    """Freeze and thaw append lines beside the processes' logs, with who; a command for another system does not."""
    monkeypatch.setenv("FENCEPOST_RUN_DIR", str(tmp_path))
    (tmp_path / "logs").mkdir()

    assert run(["freeze", "--endpoint", ZONE, "--by", "ada"]) == 0
    monkeypatch.setenv("FENCEPOST_REDIS_URL", "unix:///nowhere.sock")
    assert run(["thaw", "--redis-url", system]) == 0

    (line,) = (tmp_path / "logs" / "operator.jsonl").read_text().splitlines()
    said = json.loads(line)
    assert (said["event"], said["zone"], said["by"], said["process"]) == (
        "operator.zone_frozen",
        ZONE,
        "ada",
        "operator",
    )
