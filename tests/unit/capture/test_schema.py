from __future__ import annotations

from orchestrator.capture.schema import ObjectChange, ObjectKey, SchemaSnapshot, diff_schema

TABLE = ObjectKey(kind="table", name="public.t")
INDEX = ObjectKey(kind="index", name="public.i")


def test_the_fingerprint_does_not_depend_on_the_order_of_objects() -> None:
    one = SchemaSnapshot(objects={TABLE: "a", INDEX: "b"})
    other = SchemaSnapshot(objects={INDEX: "b", TABLE: "a"})
    assert one.fingerprint == other.fingerprint


def test_the_fingerprint_tells_where_one_text_ends() -> None:
    one = SchemaSnapshot(objects={ObjectKey(kind="table", name="a"): "bc"})
    other = SchemaSnapshot(objects={ObjectKey(kind="table", name="ab"): "c"})
    assert one.fingerprint != other.fingerprint


def test_the_fingerprint_of_a_known_snapshot_stays_the_same() -> None:
    snapshot = SchemaSnapshot(objects={TABLE: "{}"})
    assert snapshot.fingerprint == "sha256:bceefb82ca8ef08e09ca850715a443c0545e46e23260ca6c48a6186420f1d46d"


def test_objects_are_added_removed_and_changed() -> None:
    before = SchemaSnapshot(objects={TABLE: "a", INDEX: "b"})
    after = SchemaSnapshot(objects={TABLE: "c", ObjectKey(kind="view", name="public.v"): "d"})
    assert diff_schema(before, after) == (
        ObjectChange(kind="index", name="public.i", change="removed", before="b", after=None),
        ObjectChange(kind="table", name="public.t", change="changed", before="a", after="c"),
        ObjectChange(kind="view", name="public.v", change="added", before=None, after="d"),
    )


def test_a_snapshot_does_not_differ_from_itself() -> None:
    snapshot = SchemaSnapshot(objects={TABLE: "a", INDEX: "b"})
    assert diff_schema(snapshot, snapshot) == ()
