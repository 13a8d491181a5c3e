"""The operator's commands, as typed, over the real server; enactors and planner are not there."""

import asyncio
import json

import pytest

from fencepost.batch import ChangeBatch, create, delete
from fencepost.cli import run
from fencepost.client import settings_with, stores
from fencepost.errors import EndpointPinned
from fencepost.names import tree_name
from fencepost.plan import Draft, Target, content
from fencepost.records import address, alias

ZONE = "dynamodb.us-east-1.fencepost.test."
LEAF = address(tree_name(ZONE, 1), "A", "127.1.1.1", ttl=5, set_identifier="use1-az1-lb-001", weight=10)


@pytest.fixture
def system(redis_url, monkeypatch):
    """A zone at plan 1 and two published plans, found through the environment as `. RUN-DIR/env` sets it."""
    monkeypatch.setenv("FENCEPOST_REDIS_URL", redis_url)
    monkeypatch.setenv("COLUMNS", "200")

    async def prepare():
        async with stores(settings_with(redis_url=redis_url)) as opened:
            await opened.zones.create_zone(ZONE, opened.region.zone_records(ZONE))
            root = alias(ZONE, "A", tree_name(ZONE, 1))
            await opened.zones.change(ChangeBatch(ZONE, (create(LEAF), create(root)), 1, "flip to 1"))
            first = Draft({ZONE: content(5, [Target("use1-az1-lb-001", "A", "127.1.1.1", 10)])}, "the first plan")
            await opened.plans.publish(first, expected=0)
            targets = [Target("use1-az1-lb-001", "A", "127.1.1.1", 20), Target("use1-az1-lb-002", "A", "127.1.1.2", 5)]
            await opened.plans.publish(Draft({ZONE: content(5, targets)}, "one more"), expected=1)

    asyncio.run(prepare())
    return redis_url


def change(url, *changes):
    """Change the zone behind everybody's back."""

    async def work():
        async with stores(settings_with(redis_url=url)) as opened:
            await opened.zones.change(ChangeBatch(ZONE, changes))

    asyncio.run(work())


def test_zone_show_tells_root_tree_and_commits(system, capsys):
    """One look: what is live, and who did it."""
    assert run(["zone", "show", ZONE]) == 0

    said = capsys.readouterr().out
    assert "plan-000001.dynamodb.us-east-1.fencepost.test." in said
    assert "live" in said
    assert "flip to 1" in said


def test_zone_show_of_a_dangling_root_says_so_and_ends_with_1(system, capsys, tmp_path):
    """The outage, named, with the command to run; and the same as JSON."""
    change(system, delete(LEAF))

    assert run(["zone", "show", ZONE.rstrip("."), "--json", str(tmp_path / "zone.json")]) == 1

    said = capsys.readouterr().out
    assert "points to nothing" in said
    assert "  live" not in said
    assert json.loads((tmp_path / "zone.json").read_text())["dangling"] is True


def test_zone_show_of_an_unknown_endpoint_names_the_known_ones_and_ends_with_2(system, capsys):
    """A typing error is told from an outage, in words and by the exit code."""
    assert run(["zone", "show", "dynamo.example"]) == 2

    assert "it has 123456789012.ddb.us-east-1.fencepost.test." in capsys.readouterr().err


def test_plan_show_history_and_diff(system, capsys):
    """What each plan says, why it came, and what it changed."""
    assert run(["plan", "show", "1"]) == 0
    assert "the first plan" in capsys.readouterr().out

    assert run(["plan", "history"]) == 0
    assert "one more" in capsys.readouterr().out

    assert run(["plan", "diff", "1"]) == 0
    said = capsys.readouterr().out
    assert "~ use1-az1-lb-001 A 127.1.1.1 weight 10 -> 20" in said
    assert "+ use1-az1-lb-002 A 127.1.1.2 weight 5" in said


def test_plan_of_a_large_region_is_shown_as_far_as_anybody_reads(system, capsys, monkeypatch, tmp_path):
    """Then it says how much more there is, and how to see it; the JSON file has all."""
    monkeypatch.setattr("fencepost.plan_commands.MOST_LINES", 2)

    assert run(["plan", "show", "2", "--json", str(tmp_path / "plan.json")]) == 0
    said = capsys.readouterr().out
    assert "use1-az1-lb-001" in said
    assert "use1-az1-lb-002" not in said
    assert "... and 1 more lines; name an --endpoint or write all to a file with --json FILE" in said
    assert "use1-az1-lb-002" in (tmp_path / "plan.json").read_text()

    assert run(["plan", "diff", "1"]) == 0
    assert "... and 1 more lines; write all to a file with --json FILE" in capsys.readouterr().out


def test_plan_that_is_not_kept_is_named_with_the_range(system, capsys):
    """Which plans there are."""
    assert run(["plan", "show", "99"]) == 1

    assert "plan 99 is not kept; the store has plans 1 to 2" in capsys.readouterr().err


def test_plan_show_writes_what_plan_publish_reads(system, capsys, tmp_path):
    """Round trip: plan 1 published again is plan 3, with plan 1's content; it has so much less that it takes force."""
    path = tmp_path / "plan.json"
    assert run(["plan", "show", "1", "--json", str(path)]) == 0

    assert run(["plan", "publish", str(path), "--reason", "back to the first"]) == 1
    assert "takes away 15 of 25 A capacity" in capsys.readouterr().err
    assert run(["plan", "publish", str(path), "--reason", "back to the first", "--force"]) == 0

    said = capsys.readouterr().out
    assert "published plan 3" in said
    assert "let pass by force: " in said
    assert "publish it with" not in said
    assert run(["plan", "diff", "1", "3"]) == 0
    assert "0 endpoints differ" in capsys.readouterr().out


def document(*targets, endpoint=ZONE):
    """Return a plan document for one endpoint."""
    return json.dumps({"endpoints": {endpoint: {"targets": targets}}})


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("{", "is no plan"),
        (document({"identifier": "lb", "address": "1.2.3.4"}, endpoint="nowhere.test"), "nowhere.test is not"),
        (document(), "would have no address"),
        (document({"identifier": "lb-9"}), "load balancer lb-9 has no address"),
        (document({"identifier": "lb", "address": "1.2.3.4", "weight": 0}), "weight 0"),
        (document({"identifier": "lb", "address": "1.2.3.4", "weight": 900}), "weight 900, outside 0 to 255"),
    ],
)
def test_bad_plan_is_refused_with_the_place_and_publishes_nothing(system, capsys, tmp_path, text, words):
    """Bad input gets one clear error and changes nothing."""
    path = tmp_path / "plan.json"
    path.write_text(text)

    assert run(["plan", "publish", str(path)]) == 1

    assert words in capsys.readouterr().err
    run(["plan", "history"])
    assert len(capsys.readouterr().out.splitlines()) == 3


def test_commands_without_a_server_end_with_3_and_the_remedy(capsys, tmp_path):
    """Nothing to connect to."""
    assert run(["zone", "show", ZONE, "--redis-url", f"unix://{tmp_path}/none.sock"]) == 3

    said = capsys.readouterr().err
    assert "no Redis server answers" in said
    assert "`. RUN-DIR/env` tells this shell where the system is, or name it with --redis-url" in said
    assert "embedded" not in said


def test_repair_without_waiting_installs_the_latest_plan(system, capsys):
    """As typed, with nothing running but the server."""
    change(system, delete(LEAF))

    assert run(["repair", ZONE, "--wait", "0"]) == 0
    assert "(it pointed to nothing) to plan 2" in capsys.readouterr().out

    assert run(["repair", ZONE, "--wait", "0"]) == 1
    assert "nothing to repair" in capsys.readouterr().err


WORDS = "[/x] [inc-1]"


def test_words_of_operators_are_shown_as_they_are(system, capsys, tmp_path):
    """A reason in brackets is no markup: it neither vanishes nor ends a command."""
    path = tmp_path / "plan.json"
    path.write_text(document({"identifier": "use1-az1-lb-001", "address": "127.1.1.1", "weight": 25}))
    assert run(["plan", "publish", str(path), "--reason", WORDS, "--force"]) == 0
    assert run(["freeze", "--endpoint", ZONE, "--why", WORDS]) == 0
    capsys.readouterr()

    for command in (["plan", "show"], ["plan", "history"], ["zone", "show", ZONE], ["history", ZONE], ["status"]):
        assert run(command) in {0, 1}, command

        assert WORDS in capsys.readouterr().out, command


def test_plan_published_by_hand_says_that_the_planner_puts_it_back(system, capsys, tmp_path):
    """Without --hold it lasts until the planner's next plan, and the output says so, with what helps."""
    path = tmp_path / "plan.json"
    path.write_text(document({"identifier": "use1-az1-lb-001", "address": "127.1.1.1", "weight": 25}))

    assert run(["plan", "publish", str(path), "--force"]) == 0

    assert "the planner's next plan puts back what the world asks for; publish with --hold" in capsys.readouterr().out
    assert asyncio.run(publish_as_automation(system)) == 4


def test_plan_published_with_hold_stays_until_thaw(system, capsys, tmp_path):
    """No automation changes its endpoints; thaw, and a publish without --hold, let go of them."""
    path = tmp_path / "plan.json"
    path.write_text(document({"identifier": "use1-az1-lb-001", "address": "127.1.1.1", "weight": 25}))

    assert run(["plan", "publish", str(path), "--hold", "--force", "--by", "ada", "--reason", "a test"]) == 0

    assert "the planner leaves its endpoints so until `fencepost thaw" in capsys.readouterr().out
    with pytest.raises(EndpointPinned, match="ada"):
        asyncio.run(publish_as_automation(system))
    assert run(["thaw", "--endpoint", ZONE]) == 0
    assert "a test" in capsys.readouterr().out
    assert asyncio.run(publish_as_automation(system)) == 4


async def publish_as_automation(url):
    """Publish the first content again, as the planner would."""
    async with stores(settings_with(redis_url=url)) as opened:
        first = Draft({ZONE: content(5, [Target("use1-az1-lb-001", "A", "127.1.1.1", 10)])}, "the world")
        return await opened.plans.publish(first, expected=await opened.plans.latest_generation())


def test_repair_of_the_latest_plans_own_tree_says_that_it_is_whole_again(system, capsys):
    """The root does not move from a plan to the same one."""
    assert run(["repair", ZONE, "--wait", "0"]) == 0
    change(
        system,
        delete(address(tree_name(ZONE, 2), "A", "127.1.1.1", ttl=5, set_identifier="use1-az1-lb-001", weight=20)),
    )
    change(
        system, delete(address(tree_name(ZONE, 2), "A", "127.1.1.2", ttl=5, set_identifier="use1-az1-lb-002", weight=5))
    )
    capsys.readouterr()

    assert run(["repair", ZONE, "--wait", "0"]) == 0

    assert f"{ZONE}: plan 2 is whole again (the root pointed to nothing)" in capsys.readouterr().out
