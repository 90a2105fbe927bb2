"""The scheduled sweeps: one per file, each with `run_once`."""

from orchestrator.maintenance import expire, orphans, pool, prune, rescue, workspaces
from orchestrator.maintenance.sweep import Finding, Sweep, run_sweep

SWEEPS: dict[str, Sweep] = {
    expire.NAME: expire.run_once,
    rescue.NAME: rescue.run_once,
    orphans.NAME: orphans.run_once,
    workspaces.NAME: workspaces.run_once,
    pool.NAME: pool.run_once,
    prune.NAME: prune.run_once,
}

__all__ = ["SWEEPS", "Finding", "Sweep", "run_sweep"]
