"""A whole installation in one process: real forks, real agents, a real target; only the task queue is in memory."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import psycopg
import yaml
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict

from orchestrator.app import open_context
from orchestrator.app.baselines import create_baseline
from orchestrator.app.projects import ProjectRequest, add_project
from orchestrator.app.secrets_file import update_secrets
from orchestrator.app.submit import Submitted, submit
from orchestrator.forks.names import short_installation
from orchestrator.merge import marker
from orchestrator.pgtools import find_pg_tools
from orchestrator.settings import CONFIG_NAME, SECRETS_NAME, load
from orchestrator.store import Run
from orchestrator.testing.recording_dispatcher import RecordingDispatcher

TARGET = """
CREATE TABLE customers (id int PRIMARY KEY, name text NOT NULL, email text);
CREATE TABLE log (line text NOT NULL);
INSERT INTO customers SELECT n, 'customer ' || n, 'C' || n || '@Example.org' FROM generate_series(1, 20) n;
"""
CONFIG = """
dispatcher = "orchestrator.testing.recording_dispatcher:RecordingDispatcher"
[worker]
lease_seconds = 60
"""


class Shop:
    """Project `shop` with a sealed baseline; `folder` holds the user's files, forkyard.toml among them."""

    def __init__(self, folder: Path, *, registry: str, target: str, host: str) -> None:
        self.folder, self.target, self._host = folder, target, host
        self.config = folder / CONFIG_NAME
        self.config.write_text(CONFIG)
        with psycopg.connect(target, autocommit=True) as connection:
            connection.execute(TARGET)
        secrets = {"installation_key": "a key of the tests", "registry": {"url": registry}}
        update_secrets(folder / ".forkyard" / SECRETS_NAME, secrets)
        self.context = open_context(load(self.config))
        add_project(self.context, ProjectRequest(name="shop", target=target, host=host))
        self.context.settings = load(self.config)
        self.project = self.context.store.projects.get("shop")
        self.baseline = create_baseline(self.context, self.project)

    @property
    def dispatcher(self) -> RecordingDispatcher:
        assert isinstance(self.context.dispatcher, RecordingDispatcher)
        return self.context.dispatcher

    def psql(self, statement: str) -> str:
        """A line of an agent in shell: one statement on its fork."""
        return f"""{find_pg_tools().psql} -qX -v ON_ERROR_STOP=1 "$DATABASE_URL" -c "{statement}" """

    def migration(self, text: str, name: str = "1.sql") -> str:
        """A line of an agent in shell: leave a migration."""
        return f"""cat > "$FORKYARD_MIGRATIONS_DIR/{name}" <<'SQL'\n{text}\nSQL"""

    def submit(self, variants: dict[str, str], **spec: Any) -> Submitted:
        """An experiment whose agents are scripts in shell."""
        agents = {name: {"agent": {"command": ["sh", "-ec", script]}} for name, script in variants.items()}
        fields = {"experiment": "trial", "project": "shop", "keep_failed_forks": False, **spec, "variants": agents}
        path = self.folder / "trial.yaml"
        path.write_text(yaml.safe_dump(fields, sort_keys=False))
        return submit(self.context, path)

    def run(self, variants: dict[str, str], *, copies: int = 1, **spec: Any) -> dict[str, Run]:
        """The same, delivered to its end; the runs by variant."""
        submitted = self.submit(variants, **spec)
        self.dispatcher.deliver(self.context, copies=copies)
        return self.runs(submitted)

    def runs(self, submitted: Submitted) -> dict[str, Run]:
        return {run.variant: run for run in self.context.store.runs.of_experiment(submitted.experiment.id)}

    def query(self, statement: str) -> list[tuple[Any, ...]]:
        """Rows of the target."""
        with psycopg.connect(self.target, autocommit=True) as connection:
            return connection.execute(statement.encode()).fetchall()

    def is_marked(self, run_id: str) -> str | None:
        with psycopg.connect(self.target) as connection:
            found = marker.read(connection, run_id, installation=self.context.installation)
        return found.outcome if found else None

    def left(self) -> list[str]:
        """Databases and roles of forks that exist at the host."""
        pattern = f"fy_{short_installation(self.context.installation)}_f%"
        with psycopg.connect(self._host) as connection:
            rows = connection.execute(
                "SELECT datname FROM pg_database WHERE datname LIKE %(like)s"
                " UNION ALL SELECT rolname FROM pg_roles WHERE rolname LIKE %(like)s",
                {"like": pattern},
            ).fetchall()
        return [name for (name,) in rows]

    def worker(self, code: str, **variables: str) -> subprocess.CompletedProcess[str]:
        """A worker's process that runs `code` with this installation's settings; `context` is there for it."""
        prelude = (
            "from orchestrator.app import open_context\nfrom orchestrator.settings import load\n"
            "context = open_context(load())\n"
        )
        return subprocess.run(
            [sys.executable, "-c", prelude + code],
            env={**os.environ, "FORKYARD_CONFIG": str(self.config), **variables},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    def close(self) -> None:
        """Remove all that the installation has at the fork host, by force."""
        self.context.store.close()
        prefix = f"fy_{short_installation(self.context.installation)}_"
        with psycopg.connect(self._host, autocommit=True) as admin:
            own = conninfo_to_dict(self._host).get("dbname")
            names = admin.execute(
                "SELECT datname FROM pg_database WHERE starts_with(datname, %s)", (prefix,)
            ).fetchall()
            assert (own,) not in names
            for (name,) in names:
                database = sql.Identifier(name)
                admin.execute(sql.SQL("ALTER DATABASE {} IS_TEMPLATE false").format(database))
                admin.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(database))
            for (name,) in admin.execute(
                "SELECT rolname FROM pg_roles WHERE starts_with(rolname, %s)", (prefix,)
            ).fetchall():
                admin.execute(sql.SQL("DROP ROLE {}").format(sql.Identifier(name)))
