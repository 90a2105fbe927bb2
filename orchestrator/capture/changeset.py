"""The changeset: what a run did, as one portable, versioned, content-hashed document."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, Self, TypeVar

from orchestrator.capture.edits import Row, RowEdit, SequenceChange, SequenceState, TableChange
from orchestrator.capture.schema import ObjectChange
from orchestrator.errors import CaptureError

FORMAT = 1
"""The version of the JSON document; a reader refuses any other."""

Item = TypeVar("Item")


@dataclass(frozen=True, slots=True, kw_only=True)
class LedgerEntry:
    """One migration that the run applied, by its final text."""

    name: str
    sql: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Changeset:
    """A run's outcome.

    `tables` and `sequences` are what the agent did beyond its ledger. `schema_changes` (baseline to fork) is for
    readers; `unrecorded` lists the objects that differ from what the ledger makes of the baseline.
    """

    baseline_fingerprint: str
    ledger: tuple[LedgerEntry, ...] = ()
    tables: tuple[TableChange, ...] = ()
    sequences: tuple[SequenceChange, ...] = ()
    schema_changes: tuple[ObjectChange, ...] = ()
    unrecorded: tuple[ObjectChange, ...] = ()

    @property
    def is_empty(self) -> bool:
        """Nothing was done: no migration, no row, no sequence, no object."""
        return not (self.ledger or self.tables or self.sequences or self.schema_changes or self.unrecorded)

    @property
    def content_hash(self) -> str:
        """`sha256:…` of `to_json()`."""
        return f"sha256:{hashlib.sha256(self.to_json()).hexdigest()}"

    def facts(self) -> dict[str, float]:
        """Counts that reports and rankings use beside the user's metrics."""
        return {
            "changeset.rows.inserted": float(sum(table.inserted for table in self.tables)),
            "changeset.rows.updated": float(sum(table.updated for table in self.tables)),
            "changeset.rows.deleted": float(sum(table.deleted for table in self.tables)),
            "changeset.tables": float(len(self.tables)),
            "changeset.ddl.count": float(len(self.schema_changes)),
            "changeset.migrations": float(len(self.ledger)),
        }

    def to_json(self) -> bytes:
        """Canonical JSON (sorted keys, no spaces, UTF-8): equal changesets give equal bytes."""
        document = {
            "forkyard_changeset": FORMAT,
            "baseline_fingerprint": self.baseline_fingerprint,
            "ledger": [{"name": entry.name, "sql": entry.sql} for entry in self.ledger],
            "tables": [_table_document(table) for table in self.tables],
            "sequences": [_sequence_document(sequence) for sequence in self.sequences],
            "schema_changes": [_object_document(change) for change in self.schema_changes],
            "unrecorded": [_object_document(change) for change in self.unrecorded],
        }
        text = json.dumps(document, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
        return text.encode()

    @classmethod
    def from_json(cls, content: bytes) -> Self:
        """The changeset of `to_json()`. Raises CaptureError for what is not one, or of another version."""
        try:
            document = json.loads(content)
        except ValueError as exc:
            raise CaptureError("This is not a changeset: it is not valid JSON.") from exc
        version = document.get("forkyard_changeset") if isinstance(document, dict) else None
        if version != FORMAT:
            raise CaptureError(
                f"This is not a changeset of format {FORMAT} (found {version!r}): use the Forkyard that wrote it."
            )
        try:
            return cls(
                baseline_fingerprint=_text(document["baseline_fingerprint"]),
                ledger=_many(document["ledger"], _ledger_entry),
                tables=_many(document["tables"], _table),
                sequences=_many(document["sequences"], _sequence),
                schema_changes=_many(document["schema_changes"], _object),
                unrecorded=_many(document["unrecorded"], _object),
            )
        except (KeyError, TypeError, ValueError, AttributeError) as exc:
            raise CaptureError(f"This changeset is damaged: {type(exc).__name__}: {exc}.") from exc


def _table_document(table: TableChange) -> dict[str, Any]:
    # Columns as pairs, not as an object: sorted keys would lose the table's order.
    return {
        "schema": table.schema,
        "table": table.table,
        "key_columns": list(table.key_columns),
        "columns": [list(pair) for pair in table.columns.items()],
        "base_columns": None if table.base_columns is None else [list(p) for p in table.base_columns.items()],
        "edits": [
            {"op": e.op, "key": list(e.key), "before": e.before, "after": e.after, "base": e.base} for e in table.edits
        ],
    }


def _sequence_document(change: SequenceChange) -> dict[str, Any]:
    return {
        "schema": change.schema,
        "name": change.name,
        "increment": change.increment,
        "before": [change.before.last_value, change.before.is_called],
        "after": [change.after.last_value, change.after.is_called],
    }


def _object_document(change: ObjectChange) -> dict[str, Any]:
    return {
        "kind": change.kind,
        "name": change.name,
        "change": change.change,
        "before": change.before,
        "after": change.after,
    }


def _many(items: Any, read: Callable[[Mapping[str, Any]], Item]) -> tuple[Item, ...]:
    if not isinstance(items, list):
        raise TypeError("a list was expected")
    return tuple(read(item) for item in items)


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError(f"a text was expected, not {value!r}")
    return value


def _text_or_none(value: Any) -> str | None:
    return None if value is None else _text(value)


def _integer(value: Any) -> int:
    if type(value) is not int:
        raise TypeError(f"a whole number was expected, not {value!r}")
    return value


def _ledger_entry(item: Mapping[str, Any]) -> LedgerEntry:
    return LedgerEntry(name=_text(item["name"]), sql=_text(item["sql"]))


def _row(item: Any) -> Row | None:
    return None if item is None else {_text(name): _text_or_none(value) for name, value in item.items()}


def _columns(item: Any) -> dict[str, str]:
    return {_text(name): _text(type_name) for name, type_name in item}


def _edit(item: Mapping[str, Any]) -> RowEdit:
    ops: dict[str, Literal["insert", "update", "delete"]] = {
        "insert": "insert",
        "update": "update",
        "delete": "delete",
    }
    return RowEdit(
        op=ops[item["op"]],
        key=tuple(_text(part) for part in item["key"]),
        before=_row(item["before"]),
        after=_row(item["after"]),
        base=_row(item["base"]),
    )


def _table(item: Mapping[str, Any]) -> TableChange:
    base_columns = item["base_columns"]
    return TableChange(
        schema=_text(item["schema"]),
        table=_text(item["table"]),
        key_columns=tuple(_text(name) for name in item["key_columns"]),
        columns=_columns(item["columns"]),
        base_columns=None if base_columns is None else _columns(base_columns),
        edits=_many(item["edits"], _edit),
    )


def _state(item: Any) -> SequenceState:
    last_value, is_called = item
    if not isinstance(is_called, bool):
        raise TypeError(f"true or false was expected, not {is_called!r}")
    return SequenceState(last_value=_integer(last_value), is_called=is_called)


def _sequence(item: Mapping[str, Any]) -> SequenceChange:
    return SequenceChange(
        schema=_text(item["schema"]),
        name=_text(item["name"]),
        increment=_integer(item["increment"]),
        before=_state(item["before"]),
        after=_state(item["after"]),
    )


def _object(item: Mapping[str, Any]) -> ObjectChange:
    changes: dict[str, Literal["added", "removed", "changed"]] = {
        "added": "added",
        "removed": "removed",
        "changed": "changed",
    }
    return ObjectChange(
        kind=_text(item["kind"]),
        name=_text(item["name"]),
        change=changes[item["change"]],
        before=_text_or_none(item["before"]),
        after=_text_or_none(item["after"]),
    )
