"""Reports of a comparison: a table for the terminal, a JSON document for programs, one page for people.

`judge` turns each mode's history into what all three are made of.
"""

from lab.report.document import document
from lab.report.judged import Judged, judge
from lab.report.page import page
from lab.report.table import table
from lab.report.verdict import headline

__all__ = ["Judged", "document", "headline", "judge", "page", "table"]
