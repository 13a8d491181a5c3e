"""Which processes make a system, and what each is told."""

import dataclasses
from itertools import pairwise
from pathlib import Path

import pytest

from deploy.page_list import parse_pages
from deploy.topology import (
    Mode,
    Stage,
    SystemOptions,
    check_options,
    client_settings,
    enactor_names,
    pages_of,
    ports,
    process_specs,
)
from fencepost.errors import StartupError
from fencepost.guards import Guard
from fencepost.region import default_region_path, load_region

REGION = load_region()
OPTIONS = SystemOptions(Path("/tmp/run"), port_base=15500)  # noqa: S108  -- nothing is written there
URL = "unix:///tmp/redis.sock"


def specs(**changes):
    """Return the specs of the default options with some changes, by name."""
    options = dataclasses.replace(OPTIONS, **changes)
    return {spec.name: spec for spec in process_specs(options, REGION, URL, ["/bin/valkey-server"])}


def test_specs_are_in_the_order_of_their_start():
    """The server is first, the load last; what an enactor needs is there before it."""
    found = specs(load_rate=50.0)

    assert list(found) == [
        "server",
        "fleet",
        "resolver",
        "planner",
        "use1-az1-enactor",
        "use1-az2-enactor",
        "use1-az3-enactor",
        "watch",
        "load",
    ]
    assert all(one.stage <= other.stage for one, other in pairwise(found.values()))


def test_specs_server_exists_already_starts_none():
    """With a server of the user's, none of ours is started."""
    assert "server" not in {spec.name for spec in process_specs(OPTIONS, REGION, URL)}


def test_specs_tell_a_process_everything_by_environment():
    """A process needs no arguments, and nothing from the environment that the supervisor happens to have."""
    found = specs(mode=Mode.BUGGY, profile="region", seed=7)["use1-az2-enactor"]

    assert found.argv[1:] == ("-P", "-m", "enactor")
    assert found.env == {
        "FENCEPOST_NAME": "use1-az2-enactor",
        "FENCEPOST_REDIS_URL": URL,
        "FENCEPOST_REGION_FILE": str(default_region_path()),
        "FENCEPOST_PROFILE": "region",
        "FENCEPOST_SEED": "7",
        "FENCEPOST_PORT_BASE": "15500",
        "FENCEPOST_ADMIN_PORT": "15514",
        "FENCEPOST_WITHOUT": ",".join(Guard),
        "FENCEPOST_PROTOCOL": "buggy",
        "FENCEPOST_VERIFY_PORT": "15500",
    }


def test_specs_tell_planner_and_enactors_which_guards_are_off():
    """A fixed system has every guard but those that are named; a buggy one has none, in the planner neither."""
    fixed, buggy = specs(without="fence,velocity"), specs(mode=Mode.BUGGY)

    assert [fixed[name].env["FENCEPOST_WITHOUT"] for name in ("planner", "use1-az1-enactor")] == ["fence,velocity"] * 2
    assert buggy["planner"].env["FENCEPOST_WITHOUT"] == ",".join(Guard)
    assert "FENCEPOST_WITHOUT" not in fixed["resolver"].env


def test_specs_extra_settings_reach_their_kind_only():
    """Further settings go to the processes of one kind, and win."""
    found = specs(extra={"enactor": {"FENCEPOST_KEEP": "3", "FENCEPOST_SEED": "9"}})

    assert found["use1-az3-enactor"].env["FENCEPOST_KEEP"] == "3"
    assert found["use1-az3-enactor"].env["FENCEPOST_SEED"] == "9"
    assert "FENCEPOST_KEEP" not in found["planner"].env


def test_specs_load_knows_rate_and_file():
    """The load clients are told how much, and where to write it down."""
    load = specs(load_rate=50.0)["load"]

    assert load.stage is Stage.LOAD
    assert (load.env["FENCEPOST_LOAD_RATE"], load.env["FENCEPOST_LOAD_FILE"]) == ("50.0", "/tmp/run/load.jsonl")  # noqa: S108


def test_specs_watch_knows_every_process_and_where_the_logs_are():
    """Whoever is silent from the start is missed as well, and the command to run names the run directory."""
    found = specs(enactors=1)

    watch = found["watch"]
    assert watch.argv[1:] == ("-P", "-m", "deploy.watch")
    assert watch.env["FENCEPOST_RUN_DIR"] == "/tmp/run"  # noqa: S108
    assert watch.env["FENCEPOST_PROCESSES"] == (
        "fleet:fleet:15510,resolver:resolver:15511,planner:planner:15512,enactor:use1-az1-enactor:15513,watch:watch:15514"
    )
    assert parse_pages(watch.env["FENCEPOST_PROCESSES"]) == pages_of(list(found.values()))


def test_specs_absent_kinds_are_not_started_and_need_no_ports():
    """Whoever stands in for planner and fleet has their ports, and nobody is asked whether they are free."""
    options = dataclasses.replace(OPTIONS, absent=frozenset({"fleet", "planner", "watch"}), enactors=1)

    found = process_specs(options, REGION, URL)

    assert [spec.name for spec in found] == ["resolver", "use1-az1-enactor"]
    assert not [port for port in ports(client_settings(OPTIONS, URL), REGION, found) if "balancer" in port.purpose]


def test_enactors_are_named_by_zone_in_turn():
    """Names are readable: the Availability Zone first, a number only where it is needed."""
    assert enactor_names(REGION, 5) == (
        "use1-az1-enactor",
        "use1-az2-enactor",
        "use1-az3-enactor",
        "use1-az1-enactor-2",
        "use1-az2-enactor-2",
    )


def test_ports_are_all_different():
    """No two listeners of a system want the same port."""
    found = process_specs(dataclasses.replace(OPTIONS, enactors=99, load_rate=1.0), REGION, URL)

    listed = ports(client_settings(OPTIONS, URL), REGION, found)

    wanted = [(port.kind, port.host, port.number) for port in listed]
    assert len(set(wanted)) == len(wanted)
    assert max(port.number for port in listed) == 15500 + 10 + 4 + 99


def test_specs_workers_are_processes_that_know_each_other():
    """Each has a name, pages and a number of its own; all share the DNS port, which is listed once."""
    found = specs(workers=3)

    names = ["resolver", "resolver-2", "resolver-3"]
    assert [spec.name for spec in found.values() if spec.kind == "resolver"] == names
    assert [found[name].admin_port for name in names] == [15511, 15512, 15513]
    assert [found[name].env["FENCEPOST_WORKER"] for name in names] == ["1", "2", "3"]
    assert {found[name].env["FENCEPOST_WORKERS"] for name in names} == {"3"}
    assert [
        page.name for page in parse_pages(found["watch"].env["FENCEPOST_PROCESSES"]) if page.kind == "resolver"
    ] == names


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"workers": 0}, "--workers 0 is outside 1 to 32"),
        ({"workers": 2, "port_base": 65516}, "--port-base 65516 is outside 1 to 65515"),
        ({"profile": "moon"}, "no network profile 'moon'; there are none, lan, region, accelerated"),
        ({"enactors": 0}, "--enactors 0 is outside 1 to 99"),
        ({"port_base": 0}, "--port-base 0 is outside 1 to 65516"),
        ({"port_base": 65517}, "--port-base 65517 is outside"),
        ({"load_rate": 0.0}, "--load 0 is no rate"),
        ({"extra": {"enacter": {}}}, "no kind of process enacter; there are fleet"),
        ({"absent": frozenset({"planer"})}, "no kind of process planer; there are fleet"),
    ],
)
def test_options_bad_one_is_named(change, text):
    """A bad option is refused with what it may be."""
    with pytest.raises(StartupError, match=text.replace("(", r"\(")):
        check_options(dataclasses.replace(OPTIONS, **change))


def test_client_settings_bad_environment_is_named(monkeypatch):
    """A setting in the environment that is none is an error of ours, not a traceback."""
    monkeypatch.setenv("FENCEPOST_REPLICAS", "many")

    with pytest.raises(StartupError, match="FENCEPOST_REPLICAS"):
        client_settings(OPTIONS, URL)
