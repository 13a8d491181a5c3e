"""A run on disk, and the stores that it is collected from."""

import msgspec
import pytest

from fencepost.batch import ChangeBatch, upsert
from fencepost.connect import open_plan_store, open_zone_store
from fencepost.errors import ContentDamaged, FencepostError, StartupError
from fencepost.plan import Contents, Draft, KeptContent, digest
from fencepost.records import txt
from fencepost.settings import Settings
from fencepost.stores import Actor
from lab import history as module
from lab.check import check_run, runs_in
from lab.history import History, HistoryUnusable, collect, event_us, load, require_whole, save


@pytest.fixture
def history(incident, kit):
    """A history with something of everything."""
    zone, wanted = incident(6)
    return kit.history_of(
        zone,
        wanted=wanted,
        generation=146,
        probes=(kit.probe(1.0, "127.1.0.1"), kit.probe(10.5)),
        requests=(kit.request(1.0), kit.request(11.0, ok=False)),
        events=({"event": "enactor.flip_refused", "timestamp": "2026-10-14T10:00:00.000001Z", "stale": True},),
    )


def test_history_whose_last_plan_is_damaged_is_not_saved_at_all(history, tmp_path):
    """Half a run on disk would look like one."""
    kept = {digest_of: KeptContent(digest_of, b"{}") for digest_of in history.last_plan.digests.values()}
    plan = msgspec.structs.replace(history.last_plan, contents=Contents(kept))

    with pytest.raises(ContentDamaged):
        save(msgspec.structs.replace(history, last_plan=plan), tmp_path / "run")

    assert not (tmp_path / "run").exists()


def test_history_saved_and_loaded_is_equal(history, tmp_path):
    """Nothing is lost on the way through the files."""
    save(history, tmp_path / "run")

    assert load(tmp_path / "run") == history


def test_history_without_plans_saved_and_loaded_is_equal(kit, script, tmp_path):
    """A run in which nothing was published is a run."""
    bare = kit.history_of(script())

    save(bare, tmp_path)

    assert load(tmp_path) == bare


def test_save_leaves_the_probes_own_files_alone(history, kit, tmp_path):
    """The canary wrote what it saw; the runner's history, which has no probes, must not wipe it out."""
    save(history, tmp_path)

    save(msgspec.structs.replace(history, probes=(), requests=(), events=()), tmp_path)

    assert load(tmp_path).probes == history.probes
    assert load(tmp_path).events == history.events


def test_load_probe_file_cut_off_in_its_last_line_is_fine(history, tmp_path):
    """A canary that is killed while it writes costs one probe, not the run."""
    save(history, tmp_path)
    path = tmp_path / module.CANARY_FILE

    path.write_bytes(path.read_bytes()[:-20])

    assert load(tmp_path).probes == history.probes[:1]


def test_load_probe_file_broken_in_the_middle_is_an_error_with_its_line(history, tmp_path):
    """Only the last line can be cut off; anything else is a file that nobody should trust."""
    save(history, tmp_path)
    path = tmp_path / module.CANARY_FILE

    path.write_bytes(b"{}\n" + path.read_bytes())

    with pytest.raises(HistoryUnusable, match=r"canary\.jsonl, line 1: is not part of a run"):
        load(tmp_path)


def test_load_commit_file_cut_off_is_an_error(history, tmp_path):
    """The commits are the proof: half a file proves nothing."""
    save(history, tmp_path)
    path = tmp_path / module.COMMITS_FILE

    path.write_bytes(path.read_bytes()[:-20])

    with pytest.raises(HistoryUnusable, match=r"commits\.jsonl, line \d+"):
        load(tmp_path)


def test_load_directory_that_is_no_run_names_the_remedy(tmp_path):
    """Exit code 3, not 1: nothing was checked."""
    with pytest.raises(HistoryUnusable, match=r"run\.json: No such file.*fencepost compare") as caught:
        load(tmp_path)

    assert isinstance(caught.value, StartupError)


def test_load_run_file_of_something_else_is_an_error(tmp_path):
    """A run.json of another program is no run."""
    (tmp_path / "run.json").write_text('{"hello": "world"}')

    with pytest.raises(HistoryUnusable, match="is not part of a run: Object missing required field"):
        load(tmp_path)


def test_load_logs_merges_by_time_and_skips_what_is_no_event(history, tmp_path):
    """Tracebacks in a log are for people."""
    save(msgspec.structs.replace(history, events=()), tmp_path)
    logs = tmp_path / "logs"
    logs.mkdir()
    (logs / "a.jsonl").write_text('{"event": "x.2", "timestamp": "2026-10-14T10:00:02Z"}\nTraceback:\n[1]\n')
    (logs / "b.jsonl").write_text('{"event": "x.1", "timestamp": "2026-10-14T10:00:01Z"}\n{"event": "x.3", "tim')

    assert [event["event"] for event in load(tmp_path).events] == ["x.1", "x.2"]


def test_history_end_without_a_stop_is_its_last_thing(history):
    """A run that was killed still has an end."""
    run = msgspec.structs.replace(history.run, stopped_us=0)

    assert msgspec.structs.replace(history, run=run).end_us == history.requests[-1].at_us


@pytest.mark.parametrize(("timestamp", "expected"), [("2026-10-14T10:00:00.000001Z", 1_791_972_000_000_001), ("?", 0)])
def test_event_us_reads_iso_time_stamps(timestamp, expected):
    """Logs and commits share one time axis."""
    assert event_us({"timestamp": timestamp}) == expected


def test_require_whole_refuses_a_trimmed_or_gapped_history(incident):
    """What is not there could have been the violation."""
    zone, _ = incident(6)

    require_whole(zone.zone, zone.commits)
    with pytest.raises(HistoryUnusable, match=r"commits 1 to 2 are not in the history.*FENCEPOST_STREAM_LIMIT"):
        require_whole(zone.zone, zone.commits[2:])
    with pytest.raises(HistoryUnusable, match="commits 3 to 3 are not"):
        require_whole(zone.zone, zone.commits[:2] + zone.commits[3:])


@pytest.fixture
async def stores(redis_url):
    """Real stores, of an actor called `me`."""
    settings = Settings(redis_url=redis_url, stream_limit=100)
    zones, plans = open_zone_store(settings, Actor("me")), open_plan_store(settings)
    yield zones, plans
    await zones.close()
    await plans.close()


async def test_collect_pages_through_everything_that_the_stores_keep(stores, kit, script, monkeypatch):
    """More commits and plans than fit on one page arrive whole and in order."""
    monkeypatch.setattr(module, "PAGE", 2)
    zones, plans = stores
    first = tuple(change.record_set for change in script().commits[0].changes)
    await zones.create_zone(kit.zone, first)
    for number in range(6):
        await zones.change(ChangeBatch(kit.zone, (upsert(txt(f"note.{kit.zone}", str(number))),)))
        await plans.publish(Draft({kit.zone: kit.contents(weight=number + 1)}, f"change {number}"), expected=number)

    found = await collect(zones, plans, [kit.zone])

    assert [commit.serial for commit in found.commits[kit.zone]] == [1, 2, 3, 4, 5, 6, 7]
    assert [plan.generation for plan in found.plans] == [1, 2, 3, 4, 5, 6]
    assert found.last_plan is not None
    assert found.last_plan.digests == {kit.zone: digest(kit.contents(weight=6))}
    assert found.last_plan.content(kit.zone) == kit.contents(weight=6)


async def test_collect_of_a_trimmed_zone_is_refused(stores, kit, script):
    """A history that lost its beginning is not passed off as one."""
    zones, plans = stores
    await zones.create_zone(kit.zone, tuple(change.record_set for change in script().commits[0].changes))
    for number in range(400):
        await zones.change(ChangeBatch(kit.zone, (upsert(txt(f"note.{kit.zone}", str(number))),)))

    with pytest.raises(HistoryUnusable, match="are not in the history"):
        await collect(zones, plans, [kit.zone])


async def test_collect_of_a_missing_zone_says_which(stores):
    """The zone's name is in the error."""
    with pytest.raises(FencepostError, match=r"nowhere\.test"):
        await collect(*stores, ["nowhere.test."])


def test_check_run_tells_each_violation_with_its_number(history, tmp_path):
    """What `fencepost check` prints, and its exit code."""
    save(history, tmp_path)

    checked = check_run(tmp_path, 5.0)

    lines = list(checked.lines())
    assert [line[:2] for line in lines[:-1]] == [violation.invariant for violation in checked.violations]
    assert lines[-1].endswith("7 violations (I1, I2, I3, I4, I5) in 18 commits, 1 plan, 2 probes")
    assert checked.exit_code == 1
    assert checked.document()["mode"] == "fixed"


def test_check_run_clean_says_so(kit, script, tmp_path):
    """One line, and exit code 0."""
    save(kit.history_of(script()), tmp_path)

    checked = check_run(tmp_path, 5.0)

    assert list(checked.lines()) == [
        f"{tmp_path} (fixed): no violation of I1 to I7 and I9 in 1 commit, 0 plans, 0 probes"
    ]
    assert checked.exit_code == 0


def test_runs_in_finds_a_run_or_those_one_level_below(history: History, tmp_path):
    """`compare` leaves one directory for each mode."""
    for mode in ("fixed", "buggy"):
        save(history, tmp_path / mode)

    assert runs_in(tmp_path / "buggy") == (tmp_path / "buggy",)
    assert runs_in(tmp_path) == (tmp_path / "buggy", tmp_path / "fixed")
    with pytest.raises(HistoryUnusable, match="no run is recorded here"):
        runs_in(tmp_path / "logs")
