"""The command line: parse, call `app`, render. One file per group of commands."""

from orchestrator.cli.main import main

__all__ = ["main"]
