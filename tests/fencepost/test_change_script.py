"""What goes to the script that commits batches."""

import pytest

from fencepost.batch import ChangeBatch, create, decode_changes, delete, encode_changes, upsert
from fencepost.change_script import arguments, commits_kept, texts_in
from fencepost.record_rules import static_failures
from fencepost.records import RecordSet, address, alias, encode, txt
from fencepost.stores import Actor

ZONE = "a.test."
LEAF = address(f"plan-000001.{ZONE}", "A", "127.1.0.1", ttl=5, set_identifier="ü-1", weight=1)
CHANGES = (delete(txt(f"_lock.{ZONE}", "x")), create(LEAF), upsert(alias(ZONE, "A", LEAF.name)))


def test_changes_are_lines_with_the_canonical_text_where_the_script_takes_it_from():
    """The script takes the action from the 3rd to the 8th character, the text from the 11th to the last but one."""
    lines = encode_changes(CHANGES)

    assert [line[2:8] for line in lines] == [b"DELETE", b"CREATE", b"UPSERT"]
    assert [line[10:-1] for line in lines] == [encode(change.record_set) for change in CHANGES]
    assert decode_changes(b"\n".join(lines)) == CHANGES


def test_arguments_note_only_aliases_and_what_can_never_be_valid():
    """Most changes are a key and a text; a change that can never be valid has no key that could be read."""
    bad = create(RecordSet(f"x\ty.{ZONE}", "A", 5, ("127.1.0.1",)))
    batch = ChangeBatch(ZONE, (*CHANGES, bad))

    args = arguments(
        batch, static_failures(ZONE, batch.changes), Actor("one"), processing_us=0, stream_limit=100, creating=False
    )

    assert args[9] == "3 malformed \n2  test a plan-000001\tA\n"
    assert args[10::2] == ["test a _lock\tTXT\t", "test a plan-000001\tA\tü-1", "test a\tA\t", ""]
    assert list(texts_in(args)) == encode_changes(batch.changes)


@pytest.mark.parametrize(
    ("stream_limit", "batch_size", "kept"),
    [(10_000, 0, 10_000), (10_000, 512, 10_000), (10_000, 5_120, 1_000), (10_000, 1_000_000, 100), (16, 5_120, 16)],
)
def test_history_of_large_batches_is_shorter(stream_limit, batch_size, kept):
    """A zone's history is bounded by its size, too, but for the last hundred commits."""
    assert commits_kept(stream_limit, batch_size) == kept
