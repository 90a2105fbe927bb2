"""The experiment that runs while things die: eight agents that count, so that anything done twice or half shows."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from orchestrator.pgtools import find_pg_tools

RUNS = [f"{variant}#{repeat}" for variant in ("one", "two") for repeat in (1, 2, 3, 4)]

TARGET = """
CREATE TABLE by_hand (run text PRIMARY KEY, times integer NOT NULL DEFAULT 0);
CREATE TABLE by_migration (run text PRIMARY KEY, times integer NOT NULL DEFAULT 0);
CREATE TABLE hand_log (run text NOT NULL);
CREATE TABLE migration_log (run text NOT NULL);
INSERT INTO by_hand SELECT v || '#' || n FROM unnest(ARRAY['one', 'two']) v, generate_series(1, 4) n;
INSERT INTO by_migration SELECT run FROM by_hand;
"""
"""Every run counts itself up once in each counter and adds one line to each log, which has no key to catch a second."""

AGENT = """
run=${FORKYARD_RUN_ID#*/}
# What an agent leaves running must end with it, whatever becomes of its worker.
setsid sleep 600 >/dev/null 2>&1 &
"$PSQL" -qX "$DATABASE_URL" -c "UPDATE by_hand SET times = times + 1 WHERE run = '$run'" \\
  -c "INSERT INTO hand_log VALUES ('$run')" || exit 1
echo "UPDATE by_migration SET times = times + 1 WHERE run = '$run'" > "$FORKYARD_MIGRATIONS_DIR/1.sql"
echo "INSERT INTO migration_log VALUES ('$run')" > "$FORKYARD_MIGRATIONS_DIR/2.sql"
sleep "$1"
"""
"""In shell, so that eight of them cost little: the chaos is meant for the workers."""

COUNTS = """
SELECT run, h.times, m.times,
       (SELECT count(*) FROM hand_log l WHERE l.run = h.run),
       (SELECT count(*) FROM migration_log l WHERE l.run = h.run)
FROM by_hand h JOIN by_migration m USING (run)
"""


@dataclass(frozen=True, slots=True)
class Batch:
    """A submitted experiment, and its target's URL."""

    handle: str
    target: str
    promote: str


def write(folder: Path, *, promote: str, nap: float, **keys: Any) -> Path:
    """The experiment's file, for the project of the folder's name. `nap`: how long its agents take, in seconds."""
    (folder / "agents").mkdir(parents=True)
    (folder / "agents" / "agent.sh").write_text(AGENT, encoding="utf-8")
    psql = str(find_pg_tools().psql)
    variant = {"agent": {"command": ["sh", "agent.sh", str(nap)]}, "environment": {"PSQL": psql}}
    spec: dict[str, Any] = {
        "experiment": folder.name,
        "project": folder.name,
        "repeats": 4,
        "parallel": 4,
        "promote": promote,
        "timeout": "30s",
        "seed": 7,
        "files": "agents/",
        "metrics": {"counted": "SELECT sum(times) FROM by_hand"},
        "variants": {"one": variant, "two": variant},
        **keys,
    }
    if promote == "best":
        spec["best_by"] = ["counted"]
    path = folder / "experiment.yaml"
    path.write_text(yaml.safe_dump(spec, sort_keys=False), encoding="utf-8")
    return path
