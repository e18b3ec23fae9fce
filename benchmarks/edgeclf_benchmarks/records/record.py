"""Figures as JSON: what was measured, by which command, on what machine."""

from __future__ import annotations

import json
import shlex
import statistics
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from edgeclf_runtime.machine.facts import machine_facts, now_utc

SCHEMA = 1


def write_record(path: Path, module: str, figures: Any) -> None:
    """Writes `figures` with the command line that made them (`python -m module …`), the machine and the time."""
    record = {
        "schema": SCHEMA,
        "made_by": shlex.join(["python", "-m", module, *sys.argv[1:]]),
        "created_utc": now_utc(),
        "machine": machine_facts(),
        "figures": figures,
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    print(f"wrote {path}", file=sys.stderr)


def spread(values: Sequence[float], digits: int = 3) -> dict[str, float | int]:
    """Minimum, median and maximum of repeated measurements, and how many there were."""
    return {
        "min": round(min(values), digits),
        "median": round(statistics.median(values), digits),
        "max": round(max(values), digits),
        "runs": len(values),
    }
