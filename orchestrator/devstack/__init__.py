"""The embedded stack: Postgres and Valkey from wheels under our own supervisor."""

from orchestrator.devstack.processes import StopPlan
from orchestrator.devstack.stack import Stack
from orchestrator.devstack.status import ServiceState, ServiceStatus, StackStatus

__all__ = ["ServiceState", "ServiceStatus", "Stack", "StackStatus", "StopPlan"]
