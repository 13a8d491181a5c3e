"""Who types a command, as records and commits will have it."""

import getpass

import pytest

from fencepost.client import operator_name


@pytest.mark.parametrize(
    ("given", "name"),
    [
        ("ada", "ada"),
        ("Ada Lovelace", "Ada-Lovelace"),
        ('a"b\\c', "a-b-c"),
        ("Grüße", "Gr-e"),
        ("x" * 60, "x" * 40),
        ("  ", "operator"),
    ],
)
def test_operator_name_is_one_word_that_records_can_hold(given, name):
    """Whatever somebody types, it never stops a freeze."""
    assert operator_name(given) == name


def test_operator_name_is_the_login_unless_told(monkeypatch):
    """Who is logged in."""
    monkeypatch.setattr(getpass, "getuser", lambda: "grace")

    assert operator_name(None) == "grace"


def test_operator_name_without_a_login_is_operator(monkeypatch):
    """A container's user that has no entry."""

    def nobody():
        raise KeyError("getpwuid(): uid not found: 12345")

    monkeypatch.setattr(getpass, "getuser", nobody)

    assert operator_name(None) == "operator"
