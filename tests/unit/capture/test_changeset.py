from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.capture.changeset import Changeset, LedgerEntry
from orchestrator.capture.edits import RowEdit, SequenceChange, SequenceState, TableChange
from orchestrator.capture.schema import ObjectChange
from orchestrator.errors import CaptureError

TABLE = TableChange(
    schema="public",
    table="orders",
    key_columns=("id",),
    columns={"id": "integer", "a": "text"},
    base_columns={"id": "integer"},
    edits=(
        RowEdit(op="update", key=("1",), before={"id": "1", "a": None}, after={"a": "é"}, base={"id": "1"}),
        RowEdit(op="insert", key=("2",), before=None, after={"id": "2", "a": ""}, base=None),
        RowEdit(op="delete", key=("3",), before={"id": "3", "a": "x"}, after=None, base=None),
    ),
)
FULL = Changeset(
    baseline_fingerprint="sha256:00",
    ledger=(LedgerEntry(name="001.sql", sql="ALTER TABLE orders ADD a text"),),
    tables=(TABLE,),
    sequences=(
        SequenceChange(
            schema="public",
            name="s",
            increment=-2,
            before=SequenceState(last_value=1, is_called=False),
            after=SequenceState(last_value=-(2**63), is_called=True),
        ),
    ),
    schema_changes=(ObjectChange(kind="column", name="orders.a", change="added", before=None, after="{}"),),
    unrecorded=(ObjectChange(kind="index", name="i", change="removed", before="{}", after=None),),
)


def test_a_changeset_comes_back_from_json_as_it_was() -> None:
    assert Changeset.from_json(FULL.to_json()) == FULL
    empty = Changeset(baseline_fingerprint="sha256:00")
    assert Changeset.from_json(empty.to_json()) == empty


def test_the_order_of_columns_survives() -> None:
    table = replace(TABLE, columns={"z": "text", "id": "integer", "a": "text"})
    back = Changeset.from_json(replace(FULL, tables=(table,)).to_json())
    assert list(back.tables[0].columns) == ["z", "id", "a"]


def test_the_json_is_canonical() -> None:
    text = FULL.to_json().decode()
    assert text == json.dumps(json.loads(text), sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    assert "é" in text


def test_the_hash_is_of_the_content() -> None:
    assert FULL.content_hash == Changeset.from_json(FULL.to_json()).content_hash
    assert FULL.content_hash.startswith("sha256:")
    changed = replace(TABLE, edits=TABLE.edits[:2])
    assert replace(FULL, tables=(changed,)).content_hash != FULL.content_hash


def test_facts_count_what_was_done() -> None:
    assert FULL.facts() == {
        "changeset.rows.inserted": 1.0,
        "changeset.rows.updated": 1.0,
        "changeset.rows.deleted": 1.0,
        "changeset.tables": 1.0,
        "changeset.ddl.count": 1.0,
        "changeset.migrations": 1.0,
    }
    assert set(Changeset(baseline_fingerprint="x").facts().values()) == {0.0}


@pytest.mark.parametrize("field", ["ledger", "tables", "sequences", "schema_changes", "unrecorded"])
def test_a_changeset_with_anything_in_it_is_not_empty(field: str) -> None:
    empty = Changeset(baseline_fingerprint="sha256:00")
    assert empty.is_empty
    filled: dict[str, Any] = {field: getattr(FULL, field)}
    assert not replace(empty, **filled).is_empty


def test_columns_touched_are_those_of_updates_in_the_tables_order() -> None:
    edit = RowEdit(op="update", key=("1",), before={}, after={"b": "1", "a": "2"}, base=None)
    table = replace(TABLE, columns={"a": "text", "id": "integer", "b": "text"}, edits=(edit, *TABLE.edits[1:]))
    assert table.columns_touched == ("a", "b")


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"not json", "not valid JSON"),
        (b"\xff", "not valid JSON"),
        (b"[]", "not a changeset of format 1 .found None."),
        (b'{"forkyard_changeset": 2}', "found 2.: use the Forkyard that wrote it"),
        (b'{"forkyard_changeset": 1}', "damaged: KeyError"),
    ],
)
def test_what_is_not_a_changeset_is_refused(content: bytes, reason: str) -> None:
    with pytest.raises(CaptureError, match=reason):
        Changeset.from_json(content)


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("tables", 0, "edits", 0, "op"), "replace"),
        (("tables", 0, "edits", 0, "key"), [1]),
        (("tables", 0, "edits", 0, "before"), "text"),
        (("tables", 0, "edits", 0, "before"), {"id": 1}),
        (("tables", 0, "columns"), [["id"]]),
        (("tables",), None),
        (("sequences", 0, "increment"), 1.5),
        (("sequences", 0, "after"), [1, 1]),
        (("unrecorded", 0, "change"), "moved"),
        (("ledger", 0, "sql"), None),
    ],
)
def test_a_damaged_changeset_is_refused(path: tuple[Any, ...], value: object) -> None:
    document = json.loads(FULL.to_json())
    place = document
    for step in path[:-1]:
        place = place[step]
    place[path[-1]] = value
    with pytest.raises(CaptureError, match="This changeset is damaged"):
        Changeset.from_json(json.dumps(document).encode())


texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
some_rows = st.none() | st.dictionaries(texts, st.none() | texts, max_size=3)
some_edits = st.builds(
    RowEdit,
    op=st.sampled_from(["insert", "update", "delete"]),
    key=st.lists(texts, max_size=2).map(tuple),
    before=some_rows,
    after=some_rows,
    base=some_rows,
)


@given(edits=st.lists(some_edits, max_size=5), name=texts)
def test_any_text_comes_back_as_it_was(edits: list[RowEdit], name: str) -> None:
    changeset = Changeset(baseline_fingerprint=name, tables=(replace(TABLE, table=name, edits=tuple(edits)),))
    assert Changeset.from_json(changeset.to_json()) == changeset
