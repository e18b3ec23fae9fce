"""The clock of a machine may be set back: nothing measures a duration by it."""

from __future__ import annotations

from pathlib import Path

STAMPS = {  # who says when something was made, wants a seed, or holds a file's time of change against now
    "benchmarks/edgeclf_benchmarks/records/gates.py",
    "edgeclf/data/kept_hashes.py",
    "runtime/edgeclf_runtime/deploy/signatures.py",
    "runtime/edgeclf_runtime/machine/facts.py",
}


def test_durations_come_from_clocks_that_can_not_be_set(root: Path) -> None:
    found = {
        path.relative_to(root).as_posix()
        for folder in ("edgeclf", "export/edgeclf_export", "benchmarks/edgeclf_benchmarks", "runtime/edgeclf_runtime")
        for path in (root / folder).rglob("*.py")
        if any(call in path.read_text(encoding="utf-8") for call in ("time.time(", "time.time_ns(", "datetime.now("))
    }
    assert found == STAMPS
