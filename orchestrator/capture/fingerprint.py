"""Reads a database's schema into a snapshot: one file of SQL per kind of object, one query for all.

The snapshot is free of OIDs, of the order in which things were made and of data, so a clone and a restored dump
have the fingerprint of their source. Left out, because not part of the database's own schema: system schemas, what
belongs to an extension (whose version and list of members stand for it), subscriptions, settings and privileges
of the database itself, and the options of user mappings, which hold passwords.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from functools import cache
from importlib import resources
from typing import Any

from orchestrator.capture.schema import ObjectKey, SchemaSnapshot
from orchestrator.capture.session import Connection, inspecting, statement


def read_schema(
    conn: Connection,
    *,
    ignore_schemas: Sequence[str] = ("forkyard",),
    role_names: Mapping[str, str] | None = None,
) -> SchemaSnapshot:
    """Every object of the database as it is now; in an open transaction, as that transaction sees it.

    `role_names` maps real roles to neutral names in owners, privileges and policies, so that a baseline whose
    objects got another owner compares equal. Needs no privilege beyond CONNECT. Raises CaptureError, or
    ProviderUnavailable for a lost connection.
    """
    roles = role_names or {}
    with inspecting(conn) as cursor:
        cursor.execute(_query(), {"ignored": list(ignore_schemas)})
        objects = {}
        for kind, name, for_role, owner, grants, comment, labels, definition in cursor:
            if for_role is not None:
                name = f"{name} FOR {roles.get(for_role, for_role)}"
            facts = {**definition, "comment": comment, "security_labels": labels}
            facts["owner"] = None if owner is None else roles.get(owner, owner)
            facts["grants"] = _named_grants(grants, roles)
            if "roles" in facts:
                facts["roles"] = sorted({_named(role, roles) for role in facts["roles"]})
            objects[ObjectKey(kind=kind, name=name)] = _canonical(facts)
    return SchemaSnapshot(objects=objects)


@cache
def _query() -> bytes:
    folder = resources.files(__package__).joinpath("sql", "postgres", "objects")
    files = sorted((file for file in folder.iterdir() if file.name.endswith(".sql")), key=lambda f: f.name)
    # The first branch names the columns for all.
    files.sort(key=lambda file: file.name != "schema.sql")
    branches = [
        b"SELECT '%s'::text AS kind, o.* FROM (\n%s) o\n"
        % (file.name.removesuffix(".sql").replace("_", " ").encode(), file.read_bytes())
        for file in files
    ]
    return statement("objects_before") + b"UNION ALL\n".join(branches) + statement("objects_after")


def _named(role: str | None, roles: Mapping[str, str]) -> str:
    """A role in its neutral name; the empty text, which no role can have, is PUBLIC."""
    return "" if role is None else roles.get(role, role)


def _named_grants(grants: list[Any] | None, roles: Mapping[str, str]) -> list[Any]:
    return sorted({(_named(role, roles), privilege, grantable) for role, privilege, grantable in grants or ()})


def _canonical(facts: Mapping[str, Any]) -> str:
    """JSON with sorted keys; what is empty is left out, so that one more property changes no old text."""
    present = {name: value for name, value in facts.items() if value not in (None, [], {}, False)}
    return json.dumps(present, sort_keys=True, ensure_ascii=False, separators=(", ", ": "))
