"""What a process has used so far: processor time and memory, as Linux tells of it."""

import os
from pathlib import Path
from typing import Final

import msgspec

TICKS_PER_S: Final = os.sysconf("SC_CLK_TCK")
KIB: Final = 1024


class Usage(msgspec.Struct, frozen=True):
    """Processor time since the process's start, resident memory now and at its highest, in MB (a million bytes)."""

    cpu_s: float
    resident_mb: float
    highest_mb: float

    def since(self, before: "Usage") -> "Usage":
        """Return the same with the processor time that came after an earlier look."""
        return msgspec.structs.replace(self, cpu_s=round(self.cpu_s - before.cpu_s, 2))


def session_cpu_s(*leaders: int) -> float:
    """Return the processor time that the living processes of some sessions have used so far, seconds.

    Servers that fork are counted whole: each that a benchmark starts leads a session of its own.
    Source: proc(5), /proc/PID/stat fields 6, 14 and 15.
    """
    ticks = 0
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = path.read_text("utf-8").rpartition(")")[2].split()
        except (FileNotFoundError, ProcessLookupError):  # it has ended meanwhile
            continue
        if int(fields[3]) in leaders:
            ticks += sum(map(int, fields[11:13]))
    return ticks / TICKS_PER_S


def usage(pid: int | str = "self") -> Usage:
    """Look at a process. Raises: ProcessLookupError if it has ended.

    Source: proc(5), /proc/PID/stat fields 14 and 15 (all threads, in clock ticks), /proc/PID/status VmRSS and VmHWM.
    """
    place = Path("/proc") / str(pid)
    try:
        ticks = place.joinpath("stat").read_text("utf-8").rpartition(")")[2].split()[11:13]
        lines = dict(line.split(":", 1) for line in place.joinpath("status").read_text("utf-8").splitlines())
        resident, highest = (int(lines[field].split()[0]) * KIB / 1e6 for field in ("VmRSS", "VmHWM"))
    except (FileNotFoundError, KeyError) as error:  # a zombie has no memory
        raise ProcessLookupError(f"process {pid} has ended") from error
    return Usage(round(sum(map(int, ticks)) / TICKS_PER_S, 2), round(resident, 1), round(highest, 1))
