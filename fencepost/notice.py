"""Who did something, when and why, as one line of text: what freezes and pins are recorded as."""

import re
from datetime import UTC, datetime
from functools import lru_cache
from typing import NamedTuple

from fencepost.names import frozen_name
from fencepost.records import RecordKey, RecordSet, txt

MAX_WHY = 160
"""Characters of a reason that are kept: a TXT string has 255 in all."""

SOMEBODY = "somebody"

_TEXT = re.compile(r"^(\S+) ([0-9]{1,12}) ?(.*)$", re.ASCII | re.DOTALL)
_UNFIT = re.compile(r'["\\]|[^\x20-\x7e]')


class Notice(NamedTuple):
    """`by` is who, `at_s` when (epoch seconds, by the operator's clock), `why` is in the operator's words."""

    by: str
    at_s: int
    why: str = ""

    @property
    def text(self) -> str:
        """The line: `<by> <at_s> <why>`; what a TXT record cannot hold is replaced."""
        who = _UNFIT.sub("?", self.by).replace(" ", "-") or SOMEBODY
        why = _UNFIT.sub("?", " ".join(self.why.split()))[:MAX_WHY]
        return f"{who} {self.at_s} {why}".rstrip()

    @property
    def told(self) -> str:
        """Who, since when (UTC) and why, for people; of a text of another form, that text."""
        if (self.by, self.at_s) == (SOMEBODY, 0):
            return self.why
        since = f" since {datetime.fromtimestamp(self.at_s, UTC):%Y-%m-%d %H:%M:%S} UTC" if self.at_s else ""
        return f"by {self.by}{since}" + (f": {self.why}" if self.why else "")

    @classmethod
    def parse(cls, text: str) -> "Notice":
        """Read the line; a text of another form is somebody's reason, by nobody in particular."""
        match = _TEXT.match(text)
        return cls(match[1], int(match[2]), match[3]) if match else cls(SOMEBODY, 0, text)

    def freezing(self, zone: str) -> RecordSet:
        """Return the record that freezes a zone while it exists."""
        return txt(frozen_name(zone), self.text)


@lru_cache(maxsize=4_096)
def frozen_key(zone: str) -> RecordKey:
    """Return where a zone says that it is frozen."""
    return RecordKey(frozen_name(zone), "TXT")
