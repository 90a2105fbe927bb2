"""What the benchmark scripts share: the two options, medians with their spread, one JSON object or a readable list."""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path


@dataclass(slots=True, kw_only=True)
class Report:
    """One benchmark's outcome. Names are `<thing>_<statistic>_<unit>`."""

    benchmark: str
    figures: dict[str, float] = field(default_factory=dict)
    peers: dict[str, float] = field(default_factory=dict)
    ratios: dict[str, float] = field(default_factory=dict)
    settings: dict[str, object] = field(default_factory=dict)

    def show(self, *, as_json: bool) -> None:
        """On standard output: one JSON object, or one line a value."""
        parts = {name: getattr(self, name) for name in ("settings", "figures", "peers", "ratios")}
        if as_json:
            print(json.dumps({"benchmark": self.benchmark, **parts}, indent=2))
            return
        for name, values in parts.items():
            print(name, *(f"  {key}: {value}" for key, value in values.items()), sep="\n")


def option_parser(doc: str) -> argparse.ArgumentParser:
    """With `--quick` and `--json`; a script adds its own."""
    parser = argparse.ArgumentParser(description=doc.strip().splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="fewer rounds, under a minute")
    parser.add_argument("--json", action="store_true", help="one JSON object on standard output")
    return parser


def spread(name: str, samples: Sequence[float], *, unit: str, digits: int = 2) -> dict[str, float]:
    """Median, least and greatest of the samples, under names that say so."""
    found = {"p50": statistics.median(samples), "min": min(samples), "max": max(samples)}
    return {f"{name}_{statistic}_{unit}": round(value, digits) for statistic, value in found.items()}


def describe_machine(packages: Sequence[str] = ()) -> dict[str, object]:
    """When, how and on what this ran, with the versions of the packages named."""
    return {
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
        "command": " ".join(["python", f"benchmarks/{Path(sys.argv[0]).name}", *sys.argv[1:]]),
        "kernel": platform.release(),
        "processors": os.cpu_count(),
        "python": platform.python_version(),
        **{package: version(package) for package in packages},
        "load_at_start": [round(load, 2) for load in os.getloadavg()],
    }


def note(text: str) -> None:
    """Progress, for people."""
    print(text, file=sys.stderr, flush=True)
