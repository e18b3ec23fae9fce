"""Kills, fills up disks and races commands against each other, and counts what is left.

python -m edgeclf_benchmarks.records.faults -o benchmarks/results/faults.json

--part runs one part and leaves the other parts of the record as they are. Kills: 200, of the command and all its
processes, at random moments. Disks: small tmpfs mounts (Linux, root). Races: two commands at one output, and readers of
a bundle that is replaced. Exit code 1 where a fault was found; each is a sentence in the record.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

from edgeclf_benchmarks.records.faults.commands import works
from edgeclf_benchmarks.records.faults.disks import try_beside, try_disks, writers
from edgeclf_benchmarks.records.faults.inputs import prepare
from edgeclf_benchmarks.records.faults.kills import kill_often
from edgeclf_benchmarks.records.faults.process import Server, serving
from edgeclf_benchmarks.records.faults.races import race, read_while_replaced
from edgeclf_benchmarks.records.record import write_record

_RACED = ("export onnx", "pack", "train", "adapt")
_WRITES_BESIDE = ("verify", "build")
Rows = list[dict[str, Any]]


@contextmanager
def workplace() -> Iterator[Server]:
    """A server in a folder with all that the commands need."""
    with tempfile.TemporaryDirectory(prefix="edgeclf-faults-") as folder:
        place = Path(folder, "work")
        place.mkdir()
        with serving(place, Path(folder, "logs")) as server:
            prepare(place, server)
            yield server


def kills(server: Server, seed: int, share: float) -> Rows:
    """A row a command: 200 kills between them, or a share of that, one each at least."""
    return [
        {"command": work.name, **asdict(kill_often(server, work, max(1, round(work.kills * share)), seed))}
        for work in works()
    ]


def disks(server: Server, seed: int, share: float) -> Rows:
    """A row a command."""
    if not hasattr(os, "geteuid") or os.geteuid():
        raise SystemExit("the part disks mounts file systems, which takes Linux and root")
    rows = [{"command": work.name, **asdict(try_disks(server, work))} for work in writers()]
    return [*rows, *({"command": f"{name} beside", **asdict(try_beside(server, name))} for name in _WRITES_BESIDE)]


def races(server: Server, seed: int, share: float) -> Rows:
    """A row a command, 20 races each, and one for readers."""
    count = max(1, round(20 * share))
    rows = [
        {"command": f"{work.name} twice", **asdict(race(server, work, count, seed))}
        for work in works()
        if work.name in _RACED
    ]
    readers = read_while_replaced(server, count, seed)
    return [*rows, {"command": "verify, predict, pack while export --force", **asdict(readers)}]


PARTS: dict[str, Callable[[Server, int, float], Rows]] = {"kills": kills, "disks": disks, "races": races}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--part", choices=PARTS, action="append", help="repeatable; without it all")
    parser.add_argument("--share", type=float, default=1.0, help="of the kills and races; 0.05 for a quick look")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("-o", "--output", type=Path)
    arguments = parser.parse_args()
    with workplace() as server:
        found = {name: PARTS[name](server, arguments.seed, arguments.share) for name in arguments.part or PARTS}
    print(json.dumps(found, indent=1))
    if arguments.output is not None:
        before = json.loads(arguments.output.read_bytes())["figures"] if arguments.output.exists() else {}
        write_record(arguments.output, "edgeclf_benchmarks.records.faults", {**before, **found})
    if any(row["faults"] for rows in found.values() for row in rows):
        raise SystemExit(1)


if __name__ == "__main__":
    main()
