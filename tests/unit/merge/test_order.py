"""The order of tables."""

from __future__ import annotations

from orchestrator.merge.catalog import ForeignKey
from orchestrator.merge.order import children_first, cyclic_columns


def name(table):
    return ("public", table)


def key(child, parent, column="parent_id"):
    return ForeignKey(
        name=f"{child}_{parent}",
        child=name(child),
        parent=name(parent),
        child_columns=(column,),
        parent_columns=("id",),
        deferrable=False,
        acts=False,
        owned=True,
    )


def order(tables, keys):
    return "".join(table for _, table in children_first(map(name, tables), keys))


def test_children_come_before_their_parents():
    assert order("abc", [key("c", "a"), key("b", "c")]) == "bca"


def test_tables_outside_do_not_count():
    assert order("ab", [key("a", "z"), key("z", "b")]) == order("ab", [])


def test_a_table_that_refers_to_itself_has_a_place():
    assert order("a", [key("a", "a")]) == "a"


def test_a_cycle_is_broken_in_one_place_and_the_rest_keeps_its_order():
    found = order("abcd", [key("a", "b"), key("b", "c"), key("c", "a"), key("d", "a")])
    assert found.index("d") < found.index("a")
    assert sorted(found) == list("abcd")


def test_only_references_against_the_order_are_set_early():
    keys = [key("a", "b", "b_id"), key("b", "a", "a_id"), key("c", "c", "up")]
    early = cyclic_columns(map(name, "abc"), keys)
    assert early[name("c")] == {"up"}
    assert len(early) == 2


def test_nothing_is_early_without_a_cycle():
    assert cyclic_columns(map(name, "ab"), [key("a", "b")]) == {}
