"""docs/invariants.md points at code and tests that are there."""

import re
from pathlib import Path

import pytest

from lab.invariants import RULES, check

ROOT = Path(__file__).parents[3]
TEXT = (ROOT / "docs" / "invariants.md").read_text("utf-8")


@pytest.mark.parametrize("path", sorted(set(re.findall(r"`([\w/]+/[\w.]+)`", TEXT))))
def test_docs_path_exists(path):
    """Every path that the document names is in the tree."""
    assert (ROOT / path).exists()


def test_docs_names_exist():
    """Every rule and test class that the document names is there, and every rule is named."""
    source = "".join(path.read_text("utf-8") for path in sorted(Path(__file__).parent.glob("test_*.py")))

    assert all(f"class {name}:" in source for name in re.findall(r"`(Test\w+)`", TEXT))
    assert all(f"(`{rule.__name__}`)" in TEXT for rule in RULES)


def test_docs_has_every_invariant_that_the_checker_names(incident, kit):
    """A number on a violation leads to its reasons."""
    zone, wanted = incident(6)
    found = check(kit.history_of(zone, wanted=wanted, generation=146), convergence_bound_s=5.0)

    assert {f"## {violation.invariant} " for violation in found} <= set(re.findall(r"^## I\d ", TEXT, re.MULTILINE))
