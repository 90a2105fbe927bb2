"""When two names mean the same."""

from __future__ import annotations

import pytest

from orchestrator.migrations.fixers.similar import slip_distance, the_one


@pytest.mark.parametrize(
    ("wrong", "right"),
    [
        ("custmers", "customers"),
        ("customer", "customers"),
        ("customerId", "customer_id"),
        ("category", "categories"),
        ("addres", "address"),
        ("recieved_at", "received_at"),
        ("quantitty", "quantity"),
        ("EMAIL", "email"),
        ("emial", "email"),
    ],
)
def test_a_slip_is_seen(wrong: str, right: str) -> None:
    assert the_one(wrong, [right, "unrelated", "other_name"]) == right


@pytest.mark.parametrize(
    ("name", "other"),
    [
        ("created_at", "updated_at"),
        ("min_price", "max_price"),
        ("net_total", "new_total"),
        ("first_name", "last_name"),
        ("line1", "line2"),
        ("lat", "lng"),
        ("sent_at", "send_at"),
        ("is_active", "active"),
        ("home_phone", "phone"),
        ("cost", "post"),
        ("id", "ip"),
    ],
)
def test_names_of_different_things_are_not_taken_for_each_other(name: str, other: str) -> None:
    assert the_one(name, [other]) is None


def test_two_equally_near_names_are_no_answer() -> None:
    assert the_one("custmer", ["custmers", "custmers_"]) is None


def test_a_swap_of_neighbours_is_one_slip() -> None:
    assert slip_distance("emial", "email") == 1
    assert slip_distance("", "abc") == 3
