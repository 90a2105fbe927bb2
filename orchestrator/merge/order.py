"""In which order tables are written, given what refers to what."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from graphlib import CycleError, TopologicalSorter
from itertools import pairwise

from orchestrator.merge.catalog import ForeignKey, TableName


def children_first(tables: Iterable[TableName], foreign_keys: Iterable[ForeignKey]) -> tuple[TableName, ...]:
    """The tables so that one that refers to another comes before it; deterministic.

    A cycle is broken at one of its foreign keys: the last by name.
    """
    names = sorted(set(tables))
    edges = sorted(
        {
            (key.child, key.parent)
            for key in foreign_keys
            if key.child in names and key.parent in names and key.child != key.parent
        }
    )
    while True:
        sorter: TopologicalSorter[TableName] = TopologicalSorter({name: set[TableName]() for name in names})
        for child, parent in edges:
            sorter.add(parent, child)
        try:
            return tuple(sorter.static_order())
        except CycleError as exc:
            cycle: Sequence[TableName] = exc.args[1]
            edges.remove(max(edge for edge in pairwise(cycle) if edge in edges))


def cyclic_columns(tables: Iterable[TableName], foreign_keys: Iterable[ForeignKey]) -> dict[TableName, frozenset[str]]:
    """The columns of foreign keys that point to the same table or to one written later than theirs should be.

    They are set before anything is deleted, so that a deleted row takes no row with it that was moved away.
    """
    keys = list(foreign_keys)
    place = {name: i for i, name in enumerate(children_first(tables, keys))}
    found: dict[TableName, frozenset[str]] = {}
    for key in keys:
        if key.child in place and key.parent in place and place[key.child] >= place[key.parent]:
            found[key.child] = found.get(key.child, frozenset()) | frozenset(key.child_columns)
    return found
