"""Projects, their baselines and the installation."""

from __future__ import annotations

from typing import Any

from orchestrator.errors import IllegalTransition, NotFound
from orchestrator.store.connection import Table
from orchestrator.store.records import Baseline, Project


class Projects(Table):
    file = "projects"

    def installation(self) -> str:
        """The installation's UUID."""
        row = self._one("installation")
        if row is None:
            raise NotFound("The registry holds no installation.")
        return str(row["id"])

    def installation_age_seconds(self) -> float:
        row = self._one("installation")
        return float(row["age_seconds"]) if row else 0.0

    def check_key(self, key_check: str) -> bool:
        """Remember the first key's check value; False if this one differs from it."""
        self._all("set_key_check", key_check=key_check)
        row = self._one("installation")
        return row is not None and row["key_check"] == key_check

    def save(self, **values: Any) -> Project:
        """Add the project or change the one of that name."""
        row = self._one("insert", **values)
        if row is None:
            raise IllegalTransition("The registry did not record the project.")
        return Project.of(row)

    def get(self, name: str) -> Project:
        row = self._one("get", name=name)
        if row is None:
            known = ", ".join(project.name for project in self.all()) or "none yet"
            raise NotFound(f"There is no project {name!r} (known: {known}): `forkyard project add {name} …` makes one.")
        return Project.of(row)

    def by_id(self, project_id: int) -> Project:
        row = self._one("by_id", project_id=project_id)
        if row is None:
            raise NotFound(f"There is no project with id {project_id}.")
        return Project.of(row)

    def all(self) -> list[Project]:
        return [Project.of(row) for row in self._all("all")]

    def intend_baseline(self, project_id: int, *, label: str | None, prefix: str) -> Baseline:
        """Record that a baseline is about to be made; its name is `prefix` and the new row's id."""
        with self._database.transaction() as connection:
            # Two statements: the number is read after the lock was had, in a snapshot of its own.
            self._rows(connection, "lock", {"project_id": project_id})
            values = {"project_id": project_id, "label": label, "prefix": prefix}
            row = self._row(connection, "insert_baseline", values)
        if row is None:
            raise NotFound(f"There is no project with id {project_id}.")
        return Baseline.of(row)

    def seal_baseline(self, baseline_id: int, *, fingerprint: str, target_fingerprint: str) -> Baseline:
        row = self._one(
            "seal_baseline",
            baseline_id=baseline_id,
            fingerprint=fingerprint,
            target_fingerprint=target_fingerprint,
        )
        if row is None:
            raise IllegalTransition("The baseline is no longer being made.")
        return Baseline.of(row)

    def fail_baseline(self, baseline_id: int, *, reason: str) -> None:
        self._one("fail_baseline", baseline_id=baseline_id, reason=reason)

    def take_baseline_for_release(self, baseline_id: int, *, reason: str) -> Baseline | None:
        """Mark as releasing; None while an experiment, a fork or a candidate still needs it."""
        with self._database.transaction() as connection:
            # The lock waits for experiments and forks that are being recorded; the next statement sees them.
            self._rows(connection, "lock_baseline", {"baseline_id": baseline_id})
            row = self._row(connection, "take_baseline_for_release", {"baseline_id": baseline_id, "reason": reason})
        return None if row is None else Baseline.of(row)

    def baseline_users(self, baseline_id: int) -> list[str]:
        """What still needs it, in words: experiments, waiting runs, forks."""
        return [row["who"] for row in self._all("baseline_users", baseline_id=baseline_id)]

    def baseline_released(self, baseline_id: int) -> None:
        self._one("baseline_released", baseline_id=baseline_id)

    def baseline(self, baseline_id: int) -> Baseline:
        row = self._one("baseline", baseline_id=baseline_id)
        if row is None:
            raise NotFound(f"There is no baseline with id {baseline_id}.")
        return Baseline.of(row)

    def find_baseline(self, project: Project, wanted: str) -> Baseline:
        """The sealed baseline by number, by label or `latest`."""
        row = self._one("find_baseline", project_id=project.id, wanted=wanted)
        if row is None:
            what = "no sealed baseline" if wanted == "latest" else f"no sealed baseline {wanted!r}"
            raise NotFound(f"Project {project.name} has {what}: run `forkyard baseline create {project.name}`.")
        return Baseline.of(row)

    def baselines(self, project_id: int) -> list[dict[str, Any]]:
        return self._all("baselines", project_id=project_id)

    def baselines_by_name(self, names: list[str]) -> dict[str, Baseline]:
        return {row["name"]: Baseline.of(row) for row in self._all("baselines_by_name", names=names)}

    def unfinished_baselines(self, *, older_than_seconds: int, limit: int) -> list[Baseline]:
        rows = self._all("unfinished_baselines", older_than_seconds=older_than_seconds, limit=limit)
        return [Baseline.of(row) for row in rows]
