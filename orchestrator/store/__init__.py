"""The registry: the only package that touches Forkyard's own tables."""

from orchestrator.store.artifacts import Artifacts
from orchestrator.store.connection import Database, connect_once
from orchestrator.store.environments import Environments
from orchestrator.store.experiments import Experiments
from orchestrator.store.ledger import AttemptRow, Ledger
from orchestrator.store.projects import Projects
from orchestrator.store.records import Baseline, Claim, Environment, ExperimentRow, Finished, Project, Run, Woken
from orchestrator.store.runs import Runs
from orchestrator.store.sweeps import Sweeps
from orchestrator.store.upgrade import upgrade

__all__ = [
    "Artifacts",
    "AttemptRow",
    "Baseline",
    "Claim",
    "Database",
    "Environment",
    "Environments",
    "ExperimentRow",
    "Experiments",
    "Finished",
    "Ledger",
    "Project",
    "Projects",
    "Run",
    "Runs",
    "Store",
    "Sweeps",
    "Woken",
    "connect_once",
    "upgrade",
]


class Store:
    """The registry's tables behind one connection pool. Opens nothing until it is used."""

    def __init__(self, conninfo: str) -> None:
        self.database = Database(conninfo)
        self.projects = Projects(self.database)
        self.experiments = Experiments(self.database)
        self.runs = Runs(self.database)
        self.environments = Environments(self.database)
        self.ledger = Ledger(self.database)
        self.artifacts = Artifacts(self.database)
        self.sweeps = Sweeps(self.database)

    def close(self) -> None:
        self.database.close()
