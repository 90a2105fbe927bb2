"""What commands do, one use per file, around the one composition root."""

from orchestrator.app.context import open_context

__all__ = ["open_context"]
