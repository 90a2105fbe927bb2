"""Runs in the registry: claims with epochs, slots, and the single terminal transition."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from orchestrator.errors import Fenced, IllegalTransition, NotFound
from orchestrator.runs import STEP_STATE, Ending, RunState, Step
from orchestrator.store.connection import Registry, Table
from orchestrator.store.records import Claim, Finished, Run, Woken

REGISTRY = "registry"
"""Who gave a parked run its slot, where no step's owner did."""


class Runs(Table):
    file = "runs"

    def get(self, run_id: str) -> Run:
        """Raises NotFound, with the nearest ids where there are some."""
        row = self._one("get", run_id=run_id)
        if row is None:
            near = [r["id"] for r in self._all("matching", pattern=f"%{run_id.partition('/')[2] or run_id}%")]
            hint = f" Did you mean {near[0]}?" if near else " `forkyard status` lists them."
            raise NotFound(f"There is no run {run_id!r}.{hint}")
        return Run.of(row)

    def of_experiment(self, experiment_id: int) -> list[Run]:
        return [Run.of(row) for row in self._all("of_experiment", experiment_id=experiment_id)]

    def acquire(self, run_id: str, *, owner: str, continuation: str | None, dispatch_seconds: float) -> bool:
        """Give the run a slot, or park it with its continuation. True: it has the slot (now or before)."""
        with self._database.transaction() as connection:
            project = self._row(connection, "lock_project", {"run_id": run_id})
            if project is None:
                raise NotFound(f"There is no run {run_id!r}.")
            values = {
                "run_id": run_id,
                "owner": owner,
                "continuation": continuation,
                "dispatch_seconds": dispatch_seconds,
                "max_parallel": project["max_parallel"],
            }
            if self._row(connection, "take_slot", values):
                return True
            return self._row(connection, "park", values) is None

    def claim(self, run_id: str, step: Step, *, owner: str, host: str, lease_seconds: float) -> Claim | None:
        """Take the run for one step under a new epoch; None if it is not this step's turn or a live owner has it."""
        before = list(Step)[step.number - 2]
        row = self._one(
            "claim",
            run_id=run_id,
            number=step.number,
            step=step.value,
            owner=owner,
            host=host,
            lease_seconds=lease_seconds,
            state=STEP_STATE[step].value,
            sources=[STEP_STATE[before].value, STEP_STATE[step].value],
        )
        return None if row is None else Claim(run=Run.of(row), step=step.value, owner=owner)

    def heartbeat(self, claim: Claim, *, lease_seconds: float) -> bool:
        """Extend the lease; True if a person asked for the end. Raises Fenced if a newer epoch owns the run."""
        return bool(self._fenced("heartbeat", claim, lease_seconds=lease_seconds)["cancel_requested"])

    def record_process(self, claim: Claim, process_group: int) -> None:
        self._fenced("record_process", claim, process_group=process_group)

    def count_agent_start(self, claim: Claim) -> int:
        """How often the agent has been started for this run, this start included."""
        return int(self._fenced("count_agent_start", claim)["agent_starts"])

    def commit_step(
        self,
        claim: Claim,
        step: Step,
        *,
        dispatch_seconds: float,
        ending: RunState | None = None,
        outcome: str = "done",
        reason: str | None = None,
    ) -> None:
        """Mark the step as done. With `ending`, the later steps do nothing and settle ends the run so."""
        self._fenced(
            "commit_step",
            claim,
            number=step.number,
            ending=ending,
            outcome=outcome,
            reason=reason,
            dispatch_seconds=dispatch_seconds,
        )

    def release_claim(self, claim: Claim, *, reason: str, delay_seconds: float) -> None:
        """Give the run back after a failure that may pass, so that a retry can claim it."""
        self._fenced("release_claim", claim, reason=reason, delay_seconds=delay_seconds)

    def store_results(self, claim: Claim, **results: Any) -> None:
        """Keep what a step found out: changeset_hash, log_hash, baseline_fingerprint, agent_seconds, notes."""
        names = ("changeset_hash", "log_hash", "baseline_fingerprint", "agent_seconds", "notes")
        self._fenced("store_results", claim, **{name: results.get(name) for name in names})

    def store_measurements(self, claim: Claim, values: Mapping[str, float | None]) -> None:
        fields = {"run_id": claim.run.id, "names": list(values), "values": list(values.values())}
        with self._fenced_transaction(claim) as connection:
            self._rows(connection, "measure", fields)

    def store_checks(self, claim: Claim, checks: Sequence[tuple[str, bool, str]]) -> None:
        """Each check as (name, ok, detail)."""
        names, oks, details = ([c[i] for c in checks] for i in range(3))
        fields = {"run_id": claim.run.id, "names": names, "oks": oks, "details": details}
        with self._fenced_transaction(claim) as connection:
            self._rows(connection, "check", fields)

    def finish(
        self,
        run_id: str,
        ending: Ending,
        *,
        claim: Claim | None = None,
        only_idle: bool = False,
        seen: RunState | None = None,
        dispatch_seconds: float = 30,
    ) -> Finished | None:
        """The one terminal (or resting) transition: frees the slot and wakes parked runs in the same transaction.

        None if the run already rests or is finished (so a second call does nothing). With a claim, raises Fenced if
        a newer epoch owns the run; without one, it fences out whoever works on it. With `only_idle` nothing happens
        while somebody works on it, or once it settles (a merge may be on its way). With `seen` nothing happens once
        the run has left that state: what was decided for a candidate must not hit the merge of a promoted run.
        """
        with self._database.transaction() as connection:
            project = self._row(connection, "lock_project", {"run_id": run_id})
            values = {
                "run_id": run_id,
                "to": ending.to.value,
                "verdict": ending.verdict.value,
                "reason": ending.reason,
                "sources": [state.value for state in ending.sources],
                "epoch": claim.epoch if claim else None,
                "idle": only_idle,
                "seen": seen,
                "outcome": "done" if claim else "ended",
            }
            ended = self._row(connection, "finish", values)
            if ended is None or project is None:
                self._explain_unfinished(connection, run_id, ending, claim)
                return None
            # One slot at most became free, so one run at most can have it.
            owner = claim.owner if claim else REGISTRY
            woken = self._wake(connection, project, owner, dispatch_seconds)
            live = self._row(connection, "live_in_experiment", {"experiment_id": ended["experiment_id"]})
        return Finished(
            experiment_id=ended["experiment_id"],
            continuation=ended["continuation"],
            woken=(woken,) if woken else (),
            batch_done=live is not None and not live["live"],
        )

    def wake(self, *, dispatch_seconds: float) -> tuple[Woken, ...]:
        """Give free slots to parked runs of every project (a repair: finish() does it on the way)."""
        woken: list[Woken] = []
        for row in self._all("projects_with_parked"):
            with self._database.transaction() as connection:
                project = self._row(connection, "lock_project_by_id", {"project_id": row["project_id"]})
                while project and (one := self._wake(connection, project, REGISTRY, dispatch_seconds)):
                    woken.append(one)
        return tuple(woken)

    def begin_promotion(self, run_id: str, *, reason: str, dispatch_seconds: float) -> bool:
        """A candidate or held run goes back to settling, to be merged. False if it was neither."""
        return self._one("begin_promotion", run_id=run_id, reason=reason, dispatch_seconds=dispatch_seconds) is not None

    def request_cancel(self, run_id: str) -> RunState | None:
        """Set the flag that steps and agent loops poll; the state it was in, or None if it had finished."""
        row = self._one("request_cancel", run_id=run_id)
        return None if row is None else RunState(row["state"])

    def overdue(self, *, limit: int) -> list[Run]:
        """Live runs whose lease is over: their worker died or their message was lost."""
        return [Run.of(row) for row in self._all("overdue", limit=limit)]

    def held_too_long(self, *, limit: int) -> list[Run]:
        """Held runs that nobody decided about: their kept fork expired, or they had none for a time to live."""
        return [Run.of(row) for row in self._all("held_too_long", limit=limit)]

    def postpone(self, run: Run, *, delay_seconds: float, force: bool = False) -> bool:
        """Take an overdue run for re-publishing; False if somebody else did or it came back to life."""
        values = {"run_id": run.id, "epoch": run.epoch, "delay_seconds": delay_seconds, "force": force}
        return self._one("postpone", **values) is not None

    def measurements(self, run_ids: Sequence[str]) -> dict[str, dict[str, float | None]]:
        found: dict[str, dict[str, float | None]] = {run_id: {} for run_id in run_ids}
        for row in self._all("measurements", run_ids=list(run_ids)):
            found[row["run_id"]][row["name"]] = row["value"]
        return found

    def checks(self, run_ids: Sequence[str]) -> dict[str, dict[str, tuple[bool, str]]]:
        found: dict[str, dict[str, tuple[bool, str]]] = {run_id: {} for run_id in run_ids}
        for row in self._all("checks", run_ids=list(run_ids)):
            found[row["run_id"]][row["name"]] = (row["ok"], row["detail"])
        return found

    def attempts(self, run_id: str) -> list[dict[str, Any]]:
        return self._all("attempts", run_id=run_id)

    def events(self, run_id: str) -> list[dict[str, Any]]:
        return self._all("events", run_id=run_id)

    def add_event(self, run_id: str, kind: str, detail: str) -> None:
        self._all("add_event", run_id=run_id, kind=kind, detail=detail)

    def prune_events(self, *, days: int) -> int:
        row = self._one("prune_events", days=days)
        return int(row["pruned"]) if row else 0

    def _fenced(self, block: str, claim: Claim, **values: Any) -> dict[str, Any]:
        row = self._one(block, run_id=claim.run.id, epoch=claim.epoch, **values)
        if row is None:
            raise Fenced(run=claim.run.id, epoch=claim.epoch)
        return row

    def _wake(
        self, connection: Registry, project: Mapping[str, Any], owner: str, dispatch_seconds: float
    ) -> Woken | None:
        """Give a free slot of the locked project to its oldest parked run that may have one; that is its acquire."""
        values = {
            "project_id": project["id"],
            "max_parallel": project["max_parallel"],
            "owner": owner,
            "dispatch_seconds": dispatch_seconds,
        }
        row = self._row(connection, "wake", values)
        return None if row is None else Woken(run_id=row["id"], continuation=row["continuation"])

    def _explain_unfinished(self, connection: Registry, run_id: str, ending: Ending, claim: Claim | None) -> None:
        row = self._row(connection, "get", {"run_id": run_id})
        if row is None:
            raise NotFound(f"There is no run {run_id!r}.")
        run = Run.of(row)
        if claim is not None and run.epoch != claim.epoch:
            raise Fenced(run=run_id, epoch=claim.epoch)
        if not run.finished and run.state not in ending.sources and run.state is not ending.to:
            raise IllegalTransition(f"Run {run_id} is {run.state} and cannot become {ending.to}.")
