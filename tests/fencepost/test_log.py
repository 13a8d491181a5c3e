"""Log lines are what structlog's own JSON chain makes of an event, byte for byte, and each is written at once."""

import json
import re
import socket
from datetime import UTC, datetime
from io import BytesIO, TextIOWrapper

import pytest
import structlog
from prometheus_client import CollectorRegistry, generate_latest

from fencepost.event_names import EVENT_NAMES
from fencepost.events import Event, EventBus
from fencepost.log import configure_log, json_logger
from fencepost.sinks import LogSink, MetricsSink

STAMP = re.compile(rb'"timestamp": "(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d{6})?Z)"')

BUILT, REFUSED = "enactor.tree_built", "enactor.flip_refused"
EVENTS = [
    Event(BUILT),
    Event(BUILT, "b.test.", 0, "why", 1.23456),
    Event(REFUSED, "b.test.", 145, "", 0.0, {"stale": False, "tries": 3}),
    Event(BUILT, reason='Zurück in drei Sätzen: „ja“, 日本, \U0001f600, "quoted" \\ and a line\nmore \x7f \u2028'),
    Event(BUILT, fields={"nothing": None, "pair": (1, 2), "deep": {"b": [1.5, {"a": "ä"}], 1: 2}, "big": 2**70}),
    Event(BUILT, fields={"odd": object, "bytes": b"\xff", "some": {1}, "nan": float("nan"), "far": float("inf")}),
    Event(BUILT, "b.test.", fields={"zone": "c.test.", "process": "another", "level": "x", "timestamp": "x"}),
    Event(REFUSED, fields={"exc_info": ValueError("bäd"), "behind": 1}),
    Event(REFUSED, fields={"exc_info": None}),
    Event(BUILT, reason="x" * 100_000),
]


def told(event):
    """Return what of an event is told, as a plain reading of `LogSink` has it."""
    known = {"zone": event.zone, "generation": event.generation, "reason": event.reason or None}
    if event.took_ms is not None:
        known["took_ms"] = round(event.took_ms, 3)
    return {key: value for key, value in known.items() if value is not None} | dict(event.fields)


def plain_chain(event, *, stream, process_first):
    """Write an event by structlog's own means, without any short cut."""
    logger = structlog.wrap_logger(
        structlog.PrintLogger(stream),
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            structlog.processors.JSONRenderer(sort_keys=False),
        ],
    )
    with structlog.contextvars.bound_contextvars(process="one"):
        logger = logger.bind(process="one") if process_first else logger.bind()
        (logger.warning if event.name == REFUSED else logger.info)(event.name, **told(event))


def without_stamp(line):
    """Return a line with its time stamp blanked, which has to be one of just now."""
    (stamp,) = STAMP.findall(line)
    assert abs((datetime.now(UTC) - datetime.fromisoformat(stamp.decode())).total_seconds()) < 60
    return STAMP.sub(b"", line)


def plain_line(event, *, process_first):
    """Return the line that the plain chain writes."""
    wanted = TextIOWrapper(BytesIO(), "utf-8")
    plain_chain(event, stream=wanted, process_first=process_first)
    return wanted.buffer.getvalue()


@pytest.fixture
def configured():
    """`configure_log` for this test only."""
    before = structlog.get_config()
    yield configure_log
    structlog.configure(**before)


@pytest.mark.parametrize("event", EVENTS)
def test_line_of_a_process_is_what_the_plain_chain_writes(event, configured, capsysbinary):
    """Order of keys, escapes, levels, exceptions, and what is not JSON: as readers know it."""
    configured("one")

    LogSink(structlog.get_logger())(event)

    assert without_stamp(capsysbinary.readouterr().out) == without_stamp(plain_line(event, process_first=False))


@pytest.mark.parametrize("event", EVENTS)
def test_line_of_a_logger_of_its_own_is_what_the_plain_chain_writes(event):
    """The same, whatever else this process logs; the process comes first there."""
    stream = TextIOWrapper(BytesIO(), "utf-8")

    LogSink(json_logger("one", stream))(event)

    assert without_stamp(stream.buffer.getvalue()) == without_stamp(plain_line(event, process_first=True))


def test_line_is_written_at_once_and_whole():
    """Each datagram is one write(2): nothing is left in this process, and no other's line comes in between."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    theirs.setblocking(False)  # noqa: FBT003
    with theirs, open(ours.detach(), "w", encoding="utf-8") as stream:  # noqa: PTH123
        sink = LogSink(json_logger("one", stream))
        for reason in ("short", "long " * 10_000):
            sink(Event(BUILT, reason=reason))

            line = theirs.recv(1_000_000)

            assert line.endswith(b"\n")
            assert json.loads(line)["reason"] == reason


@pytest.mark.parametrize("name", EVENT_NAMES)
def test_event_is_a_warning_if_its_name_says_so(name):
    """The level shows in the name's end."""
    stream = TextIOWrapper(BytesIO(), "utf-8")

    LogSink(json_logger("one", stream))(Event(name))

    ends = ("_failed", "_refused", "_lost", "_exhausted", "_limited", ".alarm_raised", ".alarm_changed")
    assert json.loads(stream.buffer.getvalue())["level"] == ("warning" if name.endswith(ends) else "info")


def test_metrics_count_events_by_name_and_zone_between_looks():
    """What is counted before and after somebody looked adds up, and is not counted twice."""
    registry = CollectorRegistry()
    bus = EventBus(MetricsSink(registry))
    looks = []
    for _ in range(2):
        bus.emit(BUILT, zone="b.test.", generation=1)
        bus.emit(BUILT, zone="b.test.", generation=2)
        bus.emit("service.process_started", took_ms=250)
        looks += [
            registry.get_sample_value("fencepost_events_total", {"event": name, "zone": zone})
            for name, zone in ((BUILT, "b.test."), ("service.process_started", ""))
        ]

    assert looks == [2, 1, 4, 2]
    assert registry.get_sample_value("fencepost_event_seconds_sum", {"event": "service.process_started"}) == 0.5


def test_metrics_that_are_asked_for_by_name_have_what_was_counted_last():
    """A look at one metric alone is no older than one at all; none tells when a count began, which nobody noted."""
    registry = CollectorRegistry()
    bus = EventBus(MetricsSink(registry))
    alone, looks = registry.restricted_registry(["fencepost_events_total"]), []
    for _ in range(2):
        bus.emit(BUILT, zone="b.test.", generation=1)
        looks += [(sample.name, sample.value) for metric in alone.collect() for sample in metric.samples]

    assert looks == [("fencepost_events_total", 1), ("fencepost_events_total", 2)]
    assert b"fencepost_events_created" not in generate_latest(registry)
