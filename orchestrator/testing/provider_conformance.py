"""What every provider of forks must do, as one suite: each behaviour is a function that takes a lab.

    @pytest.mark.parametrize("behaviour", BEHAVIOURS, ids=lambda behaviour: behaviour.__name__)
    def test_my_provider(behaviour, my_lab):
        behaviour(my_lab)

Behaviours do not depend on each other or on their order; a lab may serve them all. Each raises AssertionError, or
whatever the provider raised.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace

from orchestrator.errors import BaselineMissing, ForeignResource, ForkMissing, TargetUnreachable, UserError
from orchestrator.forks.base import Capabilities, Found, Login
from orchestrator.testing.provider_lab import ProviderLab, WriteRefused

Behaviour = Callable[[ProviderLab], None]


# Copies


def a_fork_starts_with_the_rows_of_its_baseline(lab: ProviderLab) -> None:
    fork = lab.new_fork()
    assert lab.read(lab.provider.conninfo(fork, Login.AGENT)) == {"origin": "target"}


def a_fork_sees_nothing_that_the_target_got_later(lab: ProviderLab) -> None:
    baseline, fork = lab.new_baseline(), lab.name("fork")
    lab.write(lab.source, "origin", "later")
    try:
        lab.provider.create(fork, baseline=baseline, stamp=lab.stamp(fork))
        lab.provider.open(fork, stamp=lab.stamp(fork))
        assert lab.read(lab.provider.conninfo(fork, Login.AGENT)) == {"origin": "target"}
    finally:
        lab.write(lab.source, "origin", "target")


def two_forks_never_see_each_other(lab: ProviderLab) -> None:
    one, two = lab.new_fork(), lab.new_fork()
    lab.write(lab.provider.conninfo(one, Login.AGENT), "mine", "one")
    assert "mine" not in lab.read(lab.provider.conninfo(two, Login.AGENT)), "the other fork has the row"


def a_fork_leaves_its_baseline_and_the_target_alone(lab: ProviderLab) -> None:
    fork = lab.new_fork()
    lab.write(lab.provider.conninfo(fork, Login.AGENT), "origin", "changed")
    assert lab.read(lab.provider.baseline_conninfo(lab.baseline)) == {"origin": "target"}
    assert lab.read(lab.source)["origin"] == "target"


def forks_outlive_their_baseline(lab: ProviderLab) -> None:
    baseline, fork = lab.new_baseline(), lab.name("fork")
    lab.provider.create(fork, baseline=baseline, stamp=lab.stamp(fork))
    lab.provider.destroy_baseline(baseline)
    lab.provider.open(fork, stamp=lab.stamp(fork))
    assert lab.read(lab.provider.conninfo(fork, Login.AGENT)) == {"origin": "target"}


# Baselines


def a_baseline_can_be_read_and_not_written(lab: ProviderLab) -> None:
    conninfo = lab.provider.baseline_conninfo(lab.baseline)
    assert lab.read(conninfo) == {"origin": "target"}
    with raises(WriteRefused):
        lab.write(conninfo, "origin", "changed")


def forks_can_be_made_while_a_baseline_is_read(lab: ProviderLab) -> None:
    session = lab.connect(lab.provider.baseline_conninfo(lab.baseline))
    try:
        lab.new_fork()
    finally:
        session.close()


def a_baseline_made_twice_is_one_with_the_later_rows(lab: ProviderLab) -> None:
    baseline = lab.new_baseline()
    lab.write(lab.source, "origin", "later")
    try:
        lab.provider.create_baseline(baseline, source=lab.source, stamp=lab.stamp(baseline))
        seen = lab.read(lab.provider.baseline_conninfo(baseline))
        assert seen == {"origin": "later"}, "the first copy is still there"
    finally:
        lab.write(lab.source, "origin", "target")
    assert len([found for found in lab.provider.list() if found.name == baseline]) == 1


def an_unfinished_baseline_is_no_baseline(lab: ProviderLab) -> None:
    baseline, fork = lab.new_baseline(), lab.name("fork")
    lab.restamp(baseline, None)
    with raises(BaselineMissing):
        lab.provider.create(fork, baseline=baseline, stamp=lab.stamp(fork))
    lab.provider.create_baseline(baseline, source=lab.source, stamp=lab.stamp(baseline))
    lab.provider.create(fork, baseline=baseline, stamp=lab.stamp(fork))


def a_baseline_of_an_unreachable_target_leaves_nothing(lab: ProviderLab) -> None:
    name, before = lab.name("baseline"), lab.census()
    with raises(TargetUnreachable) as caught:
        lab.provider.create_baseline(name, source=lab.unreachable_source, stamp=lab.stamp(name))
    assert issubclass(caught[0], UserError)
    assert lab.census() == before


def a_destroyed_baseline_is_gone_and_stays_gone(lab: ProviderLab) -> None:
    assert lab.baseline
    before = lab.census()
    baseline = lab.new_baseline()
    lab.provider.destroy_baseline(baseline)
    assert lab.census() == before, f"left behind: {lab.census() - before}"
    lab.provider.destroy_baseline(baseline)
    assert baseline not in {found.name for found in lab.provider.list()}


def a_fork_of_a_missing_baseline_is_refused(lab: ProviderLab) -> None:
    fork = lab.name("fork")
    with raises(BaselineMissing):
        lab.provider.create(fork, baseline=lab.name("baseline"), stamp=lab.stamp(fork))
    assert not lab.provider.present(fork)


# Doing things twice


def a_fork_made_twice_is_one_fresh_fork(lab: ProviderLab) -> None:
    fork = lab.new_fork()
    lab.write(lab.provider.conninfo(fork, Login.AGENT), "mine", "first")
    lab.provider.create(fork, baseline=lab.baseline, stamp=lab.stamp(fork))
    lab.provider.open(fork, stamp=lab.stamp(fork))
    assert lab.read(lab.provider.conninfo(fork, Login.AGENT)) == {"origin": "target"}


def opening_twice_is_opening(lab: ProviderLab) -> None:
    fork = lab.new_fork()
    lab.provider.open(fork, stamp=lab.stamp(fork))
    lab.write(lab.provider.conninfo(fork, Login.AGENT), "mine", "still")
    assert lab.read(lab.provider.conninfo(fork, Login.AGENT))["mine"] == "still"


def closing_twice_is_closing(lab: ProviderLab) -> None:
    fork = lab.new_fork()
    lab.provider.close(fork)
    lab.provider.close(fork)
    assert lab.read(lab.provider.conninfo(fork, Login.CAPTURE)) == {"origin": "target"}


def destroying_twice_is_destroying(lab: ProviderLab) -> None:
    fork = lab.new_fork()
    lab.provider.destroy(fork)
    lab.provider.destroy(fork)
    lab.provider.destroy(lab.name("fork"))


def forks_made_at_once_are_all_there(lab: ProviderLab) -> None:
    names, baseline = [lab.name("fork") for _ in range(4)], lab.baseline
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda name: lab.provider.create(name, baseline=baseline, stamp=lab.stamp(name)), names))
    listed = _listed(lab)
    assert set(names) <= set(listed), "the listing is not whole"
    assert all(listed[name].stamp == lab.stamp(name) for name in names)


def one_fork_made_by_two_workers_is_one_whole_fork(lab: ProviderLab) -> None:
    name, baseline = lab.name("fork"), lab.baseline
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(lambda _: lab.provider.create(name, baseline=baseline, stamp=lab.stamp(name)), range(2)))
    lab.provider.open(name, stamp=lab.stamp(name))
    assert lab.read(lab.provider.conninfo(name, Login.AGENT)) == {"origin": "target"}


# Who gets in


def no_agent_gets_into_a_fork_before_it_is_open(lab: ProviderLab) -> None:
    fork = lab.new_fork(opened=False)
    assert lab.refuses(lab.provider.conninfo(fork, Login.AGENT))
    assert lab.refuses(lab.provider.conninfo(fork, Login.CAPTURE))


def a_fork_can_be_inspected_before_it_is_open_and_not_after(lab: ProviderLab) -> None:
    fork = lab.new_fork(opened=False)
    conninfo = lab.provider.inspect_conninfo(fork)
    assert lab.read(conninfo) == {"origin": "target"}
    with raises(WriteRefused):
        lab.write(conninfo, "origin", "changed")
    lab.provider.open(fork, stamp=lab.stamp(fork))
    assert lab.refuses(conninfo)


def capture_waits_until_the_fork_is_closed(lab: ProviderLab) -> None:
    fork = lab.new_fork()
    assert lab.refuses(lab.provider.conninfo(fork, Login.CAPTURE))
    lab.provider.close(fork)
    assert not lab.refuses(lab.provider.conninfo(fork, Login.CAPTURE))


def closing_ends_the_agents_access_for_good(lab: ProviderLab) -> None:
    fork = lab.new_fork()
    session = lab.connect(lab.provider.conninfo(fork, Login.AGENT))
    lab.provider.close(fork)
    assert not session.alive(), "the agent's session lives on"
    assert lab.refuses(lab.provider.conninfo(fork, Login.AGENT)), "the agent can still log in"


def capture_sees_what_the_agent_wrote(lab: ProviderLab) -> None:
    fork = lab.new_fork()
    lab.write(lab.provider.conninfo(fork, Login.AGENT), "mine", "done")
    lab.provider.close(fork)
    assert lab.read(lab.provider.conninfo(fork, Login.CAPTURE)) == {"origin": "target", "mine": "done"}


def a_fork_that_never_was_open_can_be_closed_and_captured(lab: ProviderLab) -> None:
    fork = lab.new_fork(opened=False)
    lab.provider.close(fork)
    assert lab.read(lab.provider.conninfo(fork, Login.CAPTURE)) == {"origin": "target"}


def one_forks_password_opens_no_other_fork(lab: ProviderLab) -> None:
    one, two = lab.new_fork(), lab.new_fork()
    mixed = lab.provider.conninfo(one, Login.AGENT).replace(f"/{one}", f"/{two}")
    assert mixed != lab.provider.conninfo(one, Login.AGENT)
    assert lab.refuses(mixed)


def an_expired_fork_lets_no_agent_in(lab: ProviderLab) -> None:
    fork = lab.new_fork(hours=-1)
    assert lab.refuses(lab.provider.conninfo(fork, Login.AGENT))
    lab.provider.close(fork)
    assert not lab.refuses(lab.provider.conninfo(fork, Login.CAPTURE)), "what it did cannot be captured"


def conninfos_are_derived(lab: ProviderLab) -> None:
    one, two = lab.name("fork"), lab.name("fork")
    urls = {lab.provider.conninfo(name, login) for name in (one, two) for login in Login}
    assert len(urls) == 4, "two logins share a connection string"
    assert lab.provider.conninfo(one, Login.AGENT) == lab.provider.conninfo(one, Login.AGENT)
    assert not lab.provider.present(one), "asking for a connection string made something"


# Opening and closing what is not there


def a_missing_fork_can_be_neither_opened_nor_closed(lab: ProviderLab) -> None:
    fork = lab.name("fork")
    with raises(ForkMissing):
        lab.provider.open(fork, stamp=lab.stamp(fork))
    with raises(ForkMissing):
        lab.provider.close(fork)
    assert not lab.provider.present(fork)


def an_unfinished_fork_can_be_made_again_or_destroyed_but_not_opened(lab: ProviderLab) -> None:
    fork = lab.new_fork(opened=False)
    lab.restamp(fork, None)
    with raises(ForkMissing):
        lab.provider.open(fork, stamp=lab.stamp(fork))
    lab.provider.create(fork, baseline=lab.baseline, stamp=lab.stamp(fork))
    lab.restamp(fork, None)
    lab.provider.destroy(fork)
    assert not lab.provider.present(fork)


# Nothing left behind, nothing foreign touched


def a_destroyed_fork_leaves_nothing(lab: ProviderLab) -> None:
    assert lab.baseline
    before = lab.census()
    fork = lab.new_fork()
    assert lab.census() > before
    lab.provider.destroy(fork)
    assert lab.census() == before, f"left behind: {lab.census() - before}"


def a_fork_with_open_sessions_can_be_destroyed(lab: ProviderLab) -> None:
    fork = lab.new_fork()
    session = lab.connect(lab.provider.conninfo(fork, Login.AGENT))
    lab.provider.destroy(fork)
    assert not session.alive()
    assert not {resource for resource in lab.census() if resource.name == fork}


def present_tells_the_truth(lab: ProviderLab) -> None:
    fork = lab.new_fork()
    assert lab.provider.present(fork) == frozenset(lab.provider.resources(fork))
    assert lab.provider.present(fork) <= lab.census()
    lab.provider.destroy(fork)
    assert lab.provider.present(fork) == frozenset()


def a_half_lost_fork_is_listed_and_can_be_destroyed(lab: ProviderLab) -> None:
    fork = lab.new_fork()
    lab.lose_database(fork)
    left = {resource for resource in lab.census() if resource.name == fork}
    assert (fork in _listed(lab)) == bool(left), "what is left of it shows in no listing"
    lab.provider.destroy(fork)
    assert not {resource for resource in lab.census() if resource.name == fork}


def a_fork_of_another_installation_is_left_alone(lab: ProviderLab) -> None:
    fork = lab.new_fork()
    with raises(ForeignResource):
        lab.neighbour.destroy(fork)
    assert lab.read(lab.provider.conninfo(fork, Login.AGENT)) == {"origin": "target"}
    with raises(ForeignResource):
        lab.neighbour.destroy_baseline(lab.baseline)
    assert lab.read(lab.provider.baseline_conninfo(lab.baseline)) == {"origin": "target"}


def a_fork_with_another_stamp_is_left_alone(lab: ProviderLab) -> None:
    fork = lab.new_fork()
    for text in (lab.stamp(fork, neighbour=True).to_json(), "a person's database"):
        lab.restamp(fork, text)
        for attempt in (lab.provider.destroy, lab.provider.close):
            with raises(ForeignResource):
                attempt(fork)
        with raises(ForeignResource):
            lab.provider.create(fork, baseline=lab.baseline, stamp=lab.stamp(fork))
    assert fork in {resource.name for resource in lab.census()}


def no_fork_is_made_under_a_stamp_that_is_not_its_own(lab: ProviderLab) -> None:
    fork, other = lab.name("fork"), lab.name("fork")
    for stamp in (lab.stamp(fork, neighbour=True), lab.stamp(other)):
        with raises(ForeignResource):
            lab.provider.create(fork, baseline=lab.baseline, stamp=stamp)
    assert not lab.provider.present(fork)


def strange_names_are_left_alone(lab: ProviderLab) -> None:
    for name in ("postgres", "template1", "production", "fy_", lab.baseline, lab.name("fork", neighbour=True)):
        with raises(ForeignResource):
            lab.provider.destroy(name)
    assert lab.read(lab.provider.baseline_conninfo(lab.baseline)) == {"origin": "target"}


# Listings


def listings_carry_the_stamps(lab: ProviderLab) -> None:
    fork = lab.name("fork")
    pooled = replace(lab.stamp(fork), project="größe 木 \"quoted' \\ %s")
    lab.provider.create(fork, baseline=lab.baseline, stamp=pooled)
    listed = _listed(lab)
    assert {fork, lab.baseline} <= set(listed), "the listing is not whole"
    assert listed[lab.baseline].kind == "baseline"
    assert listed[lab.baseline].stamp == lab.stamp(lab.baseline)
    assert (listed[fork].kind, listed[fork].stamp) == ("fork", pooled)


def opening_writes_the_final_stamp(lab: ProviderLab) -> None:
    fork = lab.new_fork(opened=False)
    final = lab.stamp(fork, run="clean-customers/careful#2", hours=2)
    lab.provider.open(fork, stamp=final)
    assert _listed(lab)[fork].stamp == final
    lab.provider.close(fork)
    assert _listed(lab)[fork].stamp == final


def listings_show_what_carries_no_stamp(lab: ProviderLab) -> None:
    fork = lab.new_fork(opened=False)
    lab.restamp(fork, None)
    assert _listed(lab)[fork].stamp is None
    assert _listed(lab)[fork].kind == "fork"


def listings_show_no_other_installation(lab: ProviderLab) -> None:
    fork, baseline = lab.new_fork(), lab.baseline
    listed = {found.name for found in lab.neighbour.list()}
    assert not listed & {fork, baseline}
    assert {fork, baseline} <= set(_listed(lab))


def nothing_that_is_listed_or_counted_holds_a_password(lab: ProviderLab) -> None:
    fork = lab.new_fork()
    secret = lab.provider.conninfo(fork, Login.AGENT).partition("://")[2].partition("@")[0].partition(":")[2]
    assert secret, "the connection string carries no password"
    assert secret not in repr((list(lab.provider.list()), lab.provider.resources(fork), lab.provider.present(fork)))


# Promises


def forks_made_ahead_can_be_handed_out_later(lab: ProviderLab) -> None:
    if not lab.provider.capabilities.pool:
        return
    ready = [lab.new_fork(opened=False) for _ in range(2)]
    for number, fork in enumerate(ready):
        lab.provider.open(fork, stamp=lab.stamp(fork, run=f"trial/a#{number + 1}"))
    assert all(lab.read(lab.provider.conninfo(fork, Login.AGENT)) == {"origin": "target"} for fork in ready)


def a_provider_says_what_it_can_and_whether_it_is_well(lab: ProviderLab) -> None:
    assert isinstance(lab.provider.capabilities, Capabilities)
    findings = list(lab.provider.check())
    assert findings, "doctor has nothing to show"
    assert all(finding.subject and finding.detail for finding in findings)
    assert all(finding.fix for finding in findings if not finding.ok), "a failed check without advice"


BEHAVIOURS: tuple[Behaviour, ...] = (
    a_fork_starts_with_the_rows_of_its_baseline,
    a_fork_sees_nothing_that_the_target_got_later,
    two_forks_never_see_each_other,
    a_fork_leaves_its_baseline_and_the_target_alone,
    forks_outlive_their_baseline,
    a_baseline_can_be_read_and_not_written,
    forks_can_be_made_while_a_baseline_is_read,
    a_baseline_made_twice_is_one_with_the_later_rows,
    an_unfinished_baseline_is_no_baseline,
    a_baseline_of_an_unreachable_target_leaves_nothing,
    a_destroyed_baseline_is_gone_and_stays_gone,
    a_fork_of_a_missing_baseline_is_refused,
    a_fork_made_twice_is_one_fresh_fork,
    opening_twice_is_opening,
    closing_twice_is_closing,
    destroying_twice_is_destroying,
    forks_made_at_once_are_all_there,
    one_fork_made_by_two_workers_is_one_whole_fork,
    no_agent_gets_into_a_fork_before_it_is_open,
    a_fork_can_be_inspected_before_it_is_open_and_not_after,
    capture_waits_until_the_fork_is_closed,
    closing_ends_the_agents_access_for_good,
    capture_sees_what_the_agent_wrote,
    a_fork_that_never_was_open_can_be_closed_and_captured,
    one_forks_password_opens_no_other_fork,
    an_expired_fork_lets_no_agent_in,
    conninfos_are_derived,
    a_missing_fork_can_be_neither_opened_nor_closed,
    an_unfinished_fork_can_be_made_again_or_destroyed_but_not_opened,
    a_destroyed_fork_leaves_nothing,
    a_fork_with_open_sessions_can_be_destroyed,
    present_tells_the_truth,
    a_half_lost_fork_is_listed_and_can_be_destroyed,
    a_fork_of_another_installation_is_left_alone,
    a_fork_with_another_stamp_is_left_alone,
    no_fork_is_made_under_a_stamp_that_is_not_its_own,
    strange_names_are_left_alone,
    listings_carry_the_stamps,
    opening_writes_the_final_stamp,
    listings_show_what_carries_no_stamp,
    listings_show_no_other_installation,
    nothing_that_is_listed_or_counted_holds_a_password,
    forks_made_ahead_can_be_handed_out_later,
    a_provider_says_what_it_can_and_whether_it_is_well,
)


def _listed(lab: ProviderLab) -> dict[str, Found]:
    return {found.name: found for found in lab.provider.list()}


@contextmanager
def raises(expected: type[Exception]) -> Iterator[list[type[Exception]]]:
    """The block must raise that error; the list holds its class afterwards."""
    caught: list[type[Exception]] = []
    try:
        yield caught
    except expected as exc:
        caught.append(type(exc))
    if not caught:
        raise AssertionError(f"{expected.__name__} was expected, and nothing happened")
