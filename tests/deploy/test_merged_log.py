"""Following files: whole lines, in the order of their times, from now on."""

from deploy.log_view import LogView
from deploy.merged_log import MergedLog, Source, Tail
from fencepost.clock import SystemClock


def append(path, text):
    """Add bytes to a file."""
    with path.open("ab") as file:
        file.write(text)


def merged(view, *sources):
    """Return a merged log and what it has shown."""
    shown = []
    return MergedLog(sources, view, shown.append, SystemClock()), shown


def test_tail_reads_whole_lines_only(tmp_path):
    """Half a line waits for its other half."""
    tail = Tail(tmp_path / "log")
    assert tail.read_lines() == [], "the file need not exist"

    append(tmp_path / "log", b"one\ntw")
    first = tail.read_lines()
    append(tmp_path / "log", b"o\n\n\xff\n")

    assert first == ["one"]
    assert tail.read_lines() == ["two", "\ufffd"]


def test_tail_of_an_earlier_run_begins_at_its_end(tmp_path):
    """What was in the file before is not news."""
    append(tmp_path / "log", b"yesterday\n")
    tail = Tail(tmp_path / "log")

    append(tmp_path / "log", b"today\n")

    assert tail.read_lines() == ["today"]


def test_merged_lines_are_sorted_by_time(tmp_path):
    """Lines of several processes come in the order in which they happened; text stays behind its predecessor."""
    first, second = tmp_path / "a", tmp_path / "b"
    log, shown = merged(LogView(("a", "b")), Source("a", first), Source("b", second))

    append(first, b'{"event": "1", "timestamp": "2025-10-20T06:48:01.1Z"}\na traceback\n')
    append(first, b'{"event": "4", "timestamp": "2025-10-20T06:48:01.4Z"}\n')
    append(second, b'{"event": "3", "timestamp": "2025-10-20T06:48:01.3Z"}\n')
    log.poll()

    assert [line.split("  ")[-1] for line in shown] == ["1", "a traceback", "3", "4"]


def test_merged_quiet_sources_are_shown_when_verbose(tmp_path):
    """The server's own log is for those who ask."""
    source = Source("server", tmp_path / "server.log", quiet=True)
    (quiet, few), (loud, all_lines) = (merged(LogView(("server",), verbose=v), source) for v in (False, True))

    append(source.path, b"Ready to accept connections\n")
    quiet.poll()
    loud.poll()

    assert few == []
    assert all_lines == ["              server  Ready to accept connections"]
