"""What goes to the script that commits batches."""

import msgspec
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
    """The script takes a text from the 11th character of its line to the last but one."""
    text = encode_changes(CHANGES)

    lines = text.split(b"\n")
    assert lines.pop() == b""
    assert [line[2:8] for line in lines] == [b"DELETE", b"CREATE", b"UPSERT"]
    assert [line[10:-1] for line in lines] == [encode(change.record_set) for change in CHANGES]
    assert decode_changes(text) == CHANGES


def arguments_of(*changes):
    """Return the arguments of a batch of some changes."""
    batch = ChangeBatch(ZONE, changes)
    return arguments(
        batch, static_failures(ZONE, changes), Actor("one"), processing_us=0, stream_limit=100, creating=False
    )


def runs_of(*changes):
    """Return the runs of some changes, as the script has them, line by line."""
    return arguments_of(*changes)[8].splitlines()


def test_arguments_say_what_the_script_needs_of_each_change():
    """A change that can never be valid has no key that could be read, an alias brings its target's field of counts."""
    bad = create(RecordSet(f"x\ty.{ZONE}", "A", 5, ("127.1.0.1",)))

    args = arguments_of(*CHANGES, bad)

    lock, leaf, root = "test a _lock", "test a plan-000001", "test a"
    fields = (lock, f"{lock}\tTXT", f"{lock}\tCNAME", leaf, f"{leaf}\tA", f"{leaf}\tCNAME")
    fields += (root, f"{root}\tA", f"{root}\tCNAME")
    keys = (f"{lock}\tTXT\t", f"{leaf}\tA\tü-1", f"{root}\tA\t", "", "test a _frozen\tTXT\t")
    assert args[8] == "1 DELETE 0  \n1 CREATE 0  \n1 UPSERT 0  test a plan-000001\tA\n1 CREATE 0 malformed \n"
    assert args[10:] == [9, *fields, *keys]
    assert b"\n".join(texts_in(args)) + b"\n" == encode_changes((*CHANGES, bad))


LEAVES = [address(f"plan-000001.{ZONE}", "A", "127.1.0.1", ttl=5, set_identifier=f"lb-{n}", weight=1) for n in range(4)]


def test_changes_of_one_action_name_and_type_are_one_run():
    """A tree's record sets are looked at together; another action, or another name or type, begins another run."""
    others = [msgspec.structs.replace(leaf, name=f"plan-000002.{ZONE}") for leaf in LEAVES]

    runs = runs_of(*map(create, LEAVES), *map(create, others[:2]), *map(delete, others[2:]))

    assert runs == ["4 CREATE 0  ", "2 CREATE 0  ", "2 DELETE 0  "]


def test_change_of_what_an_earlier_one_is_about_is_a_run_of_its_own():
    """It says which change that was, by its number, and the script looks there for what the batch made of it."""
    runs = runs_of(*map(delete, LEAVES), create(LEAVES[2]), upsert(LEAVES[2]), *map(upsert, LEAVES[:1]))

    assert runs == ["4 DELETE 0  ", "1 CREATE 3  ", "1 UPSERT 5  ", "1 UPSERT 1  "]


@pytest.mark.parametrize(
    "changed", [{"type": "CNAME"}, {"set_identifier": None, "weight": None}, {"weight": None}], ids=str
)
def test_change_that_is_not_like_its_neighbours_is_a_run_of_its_own(changed):
    """CNAME excludes its own kind, too; a simple record set excludes others; what is malformed is nothing."""
    odd = [msgspec.structs.replace(leaf, **changed) for leaf in LEAVES[:2]]

    lengths = [line.split(" ")[0] for line in runs_of(create(LEAVES[2]), *map(create, odd), create(LEAVES[3]))]

    assert lengths == ["1", "1", "1", "1"]


@pytest.mark.parametrize(
    ("stream_limit", "batch_size", "kept"),
    [(10_000, 0, 10_000), (10_000, 512, 10_000), (10_000, 5_120, 1_000), (10_000, 1_000_000, 100), (16, 5_120, 16)],
)
def test_history_of_large_batches_is_shorter(stream_limit, batch_size, kept):
    """A zone's history is bounded by its size, too, but for the last hundred commits."""
    assert commits_kept(stream_limit, batch_size) == kept
