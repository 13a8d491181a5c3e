"""What a start refuses, and what it makes of a store, over the real server."""

from pathlib import Path

import pytest

from deploy.launch import prepare_store, running_system
from deploy.provision import provision
from deploy.topology import SystemOptions
from fencepost.connect import open_plan_store, open_zone_store
from fencepost.errors import RegionInvalid, StartupError
from fencepost.plan import Content, Draft, Target
from fencepost.records import RecordKey
from fencepost.region import load_region
from fencepost.settings import Settings
from fencepost.stores import Actor

REGION = load_region()
ZONE = "dynamodb.us-east-1.fencepost.test."


@pytest.fixture
def settings(redis_url):
    """Settings for an empty store."""
    return Settings(redis_url=redis_url)


@pytest.fixture
async def zones(settings):
    """The zones of that store."""
    store = open_zone_store(settings, Actor("a test"))
    yield store
    await store.close()


async def start(options):
    """Start a system; it is expected to be refused."""
    async with running_system(options):
        pytest.fail("it started")


async def test_provision_creates_each_zone_with_soa_and_ns(zones):
    """Every endpoint gets its zone, with the region's own SOA."""
    created = await provision(zones, REGION)

    assert created == REGION.endpoint_names
    read = await zones.read(ZONE, [RecordKey(ZONE, "SOA"), RecordKey(ZONE, "NS")])
    assert tuple(read.records.values()) == REGION.zone_records(ZONE)


async def test_provision_again_changes_nothing(zones):
    """What exists stays as it is."""
    await provision(zones, REGION)
    before = await zones.read(ZONE, [])

    assert await provision(zones, REGION) == ()
    assert await zones.read(ZONE, []) == before


async def test_prepare_store_with_zones_is_refused_unless_reused(settings):
    """A store in which somebody has our zones is not touched without being told to."""
    await prepare_store(settings, REGION, reuse=False)

    with pytest.raises(StartupError, match=r"has the zone .* already, and nothing in it was changed.*--reuse"):
        await prepare_store(settings, REGION, reuse=False)
    await prepare_store(settings, REGION, reuse=True)


async def test_prepare_store_with_plans_is_refused_and_left_alone(settings, zones):
    """A store that has plans, of whatever region, gets no zones of ours."""
    plans = open_plan_store(settings)
    content = Content(60, (Target("lb", "A", "127.1.0.1", 1),))
    await plans.publish(Draft({"other.test.": content}, reason="somebody else's"), expected=0)
    await plans.close()

    with pytest.raises(StartupError, match="has plan 1 already"):
        await prepare_store(settings, REGION, reuse=False)

    assert await provision(zones, REGION) == REGION.endpoint_names, "there were none"


async def test_start_server_unreachable_is_told(tmp_path):
    """A server that does not answer is named, with the way out."""
    options = SystemOptions(tmp_path, redis_url="redis://127.0.0.1:1/0", port_base=15580)

    with pytest.raises(StartupError, match=r"no Redis server answers at redis://127\.0\.0\.1:1/0"):
        await start(options)


async def test_start_bad_region_file_is_told(tmp_path):
    """A region file that is none is named before anything is started."""
    bad = tmp_path / "bad.toml"
    bad.write_text("name = 7\n")

    with pytest.raises(RegionInvalid, match=str(bad)):
        await start(SystemOptions(tmp_path / "run", region_file=bad))

    assert not (tmp_path / "run").exists()


async def test_start_run_dir_in_use_is_told(tmp_path):
    """Two systems cannot share a run directory: they would share a server's data."""
    from deploy.launch import _run_dir

    with _run_dir(tmp_path), pytest.raises(StartupError, match="another system runs in"):
        await start(SystemOptions(tmp_path))


async def test_start_run_dir_impossible_is_told(tmp_path):
    """A run directory that cannot be made is named."""
    (tmp_path / "file").touch()

    with pytest.raises(StartupError, match=r"cannot use the run directory .*file/run"):
        await start(SystemOptions(tmp_path / "file" / "run"))


async def test_start_bad_option_makes_no_directory(tmp_path):
    """Options are looked at first."""
    with pytest.raises(StartupError, match="no network profile"):
        await start(SystemOptions(Path(tmp_path / "run"), profile="moon"))

    assert not (tmp_path / "run").exists()
