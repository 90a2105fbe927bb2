"""What a database consists of, object by object, and how two such lists differ."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True, kw_only=True, order=True)
class ObjectKey:
    """One catalog object: its kind (`table`, `column`, `index`, …) and its qualified, quoted name."""

    kind: str
    name: str


@dataclass(frozen=True, slots=True, kw_only=True)
class SchemaSnapshot:
    """Every object of a database with its definition as canonical JSON, free of OIDs and of data."""

    objects: Mapping[ObjectKey, str]

    @property
    def fingerprint(self) -> str:
        """`sha256:…`, equal for two databases exactly when all objects and definitions are equal."""
        digest = hashlib.sha256()
        for key in sorted(self.objects):
            for part in (key.kind, key.name, self.objects[key]):
                encoded = part.encode()
                digest.update(b"%d:" % len(encoded))
                digest.update(encoded)
        return f"sha256:{digest.hexdigest()}"


@dataclass(frozen=True, slots=True, kw_only=True)
class ObjectChange:
    """One object that exists on one side only (`added`, `removed`) or on both with other properties."""

    kind: str
    name: str
    change: Literal["added", "removed", "changed"]
    before: str | None
    after: str | None


def diff_schema(before: SchemaSnapshot, after: SchemaSnapshot) -> tuple[ObjectChange, ...]:
    """The objects that differ, ordered by kind and name; empty exactly when the fingerprints are equal."""
    return tuple(_changes(before.objects, after.objects))


def _changes(before: Mapping[ObjectKey, str], after: Mapping[ObjectKey, str]) -> Iterator[ObjectChange]:
    for key in sorted(before.keys() | after.keys()):
        old, new = before.get(key), after.get(key)
        if old == new:
            continue
        change: Literal["added", "removed", "changed"] = (
            "added" if old is None else "removed" if new is None else "changed"
        )
        yield ObjectChange(kind=key.kind, name=key.name, change=change, before=old, after=new)
