"""Images a second of edgeclf beside its peers and beside loops written by hand, in turns; and their cold starts.

    python -m edgeclf_benchmarks.records.peers --environment FOLDER --bundles FOLDER --data FOLDER --images FOLDER \
        -o benchmarks/results/peers.json

One command: it makes an environment for each peer by pip and the bundles, where they are missing; gives every contender
the same JPEGs, the same weights, a precision that it asks for by name and the same number of threads; measures them in
turns; and writes the record and the first tables of docs/measured.md. A peer that can't be installed is named with why.

--data holds labelled images, on which the networks are trained for a moment; --images photographs of any size, from
which JPEGs of 500x333 and 1920x1280 are made. With --prepare nothing is measured. Only on a quiet machine.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from pathlib import Path
from typing import Any

from edgeclf_benchmarks.records.folders import SIZES_PX, make_photographs
from edgeclf_benchmarks.records.measured_table import PAGE, between
from edgeclf_benchmarks.records.one_prediction import by_hand_command
from edgeclf_benchmarks.records.peers.bound import summary
from edgeclf_benchmarks.records.peers.cold_starts import Command, measure_cold_starts
from edgeclf_benchmarks.records.peers.contenders import HINTS, ROWS, Contender, Row, contenders
from edgeclf_benchmarks.records.peers.environments import REQUIREMENTS, make_environments, packages
from edgeclf_benchmarks.records.peers.models import bundle_of, make_bundles, model_for, settings_of
from edgeclf_benchmarks.records.peers.rounds import Entrant, environment_of, measure, worker_command
from edgeclf_benchmarks.records.peers.table import BEGIN, END, tables
from edgeclf_benchmarks.records.record import write_record
from edgeclf_runtime.bundle.bundle import Bundle
from edgeclf_runtime.capacity import usable_cores

_SIDE_PX = 224
_COLD_TURNS = 3
_REFERENCE = "edgeclf, exact, batch 1"


class Setting:
    """What all rows share: environments, bundles, JPEGs, threads, the length of a turn."""

    def __init__(self, given: argparse.Namespace, jpegs: Path) -> None:
        self.pythons, self.not_installed = make_environments(given.environment.resolve())
        self.bundles: Path = given.bundles.resolve()
        make_bundles(self.bundles, given.data, ROWS, _SIDE_PX)
        self.jpegs, self.seconds, self.threads = jpegs, given.seconds, usable_cores()
        for size in dict.fromkeys(row.size for row in ROWS):
            (jpegs / size).mkdir()
            for number, file in enumerate(make_photographs(given.images, SIZES_PX[size], given.count)):
                (jpegs / size / f"{number:03d}.jpg").write_bytes(file)

    def entrant(self, row: Row, contender: Contender) -> Entrant:
        """A contender with all that its worker is told."""
        settings = {
            **settings_of(self.bundles, row),
            "model": str(model_for(self.bundles, row, contender)),
            "images": str(self.jpegs / row.size),
            "image": str(self.jpegs / row.size / "000.jpg"),
            "hint": HINTS[row.precision],
            "threads": self.threads,
            "seconds": self.seconds,
            "packages": packages(contender.environment),
            "pixels": contender.pixels,
            **contender.settings,
        }
        return Entrant(contender, self.pythons[contender.environment], settings)

    def entrants(self, row: Row) -> list[Entrant]:
        """All that can be installed, of the contenders of a row."""
        return [self.entrant(row, each) for each in contenders(row) if each.environment in self.pythons]


def measured_row(setting: Setting, row: Row, rounds: int) -> dict[str, Any]:
    """The figures of all contenders of a row, and edgeclf beside the best of them and beside the bound."""
    found = measure(setting.entrants(row), rounds, _REFERENCE)
    told = {pixels: summary(found, pixels) for pixels in ("exact", "fast")}
    for pixels, each in told.items():
        print(f"{row.name}, {pixels}: {each}", file=sys.stderr)
    return {
        "row": row.name,
        "size": row.size,
        "backbone": row.backbone,
        "target": row.target,
        "precision": row.precision,
        "contenders": found,
        "summary": told,
    }


def cold_commands(setting: Setting) -> dict[str, Command]:
    """One image of 500x333, MobileNetV3-large in fp32: edgeclf's command, the same by hand, and each peer's worker."""
    commands: dict[str, Command] = {}
    for row in (each for each in ROWS if (each.size, each.precision) == ("small", "fp32")):
        for entrant in setting.entrants(row):
            contender, python = entrant.contender, entrant.python
            image, environment = str(entrant.settings["image"]), environment_of(contender)
            if contender.name == _REFERENCE:
                bundle = bundle_of(setting.bundles, row)
                whole = (str(python), "-m", "edgeclf", "predict", str(bundle), image)
                commands[f"edgeclf, {row.target}"] = (whole, environment)
            elif contender.role == "peer":
                once = worker_command(python, contender, {**entrant.settings, "batch": 1}, "--once", image)
                commands[f"{contender.name}, {contender.settings.get('engine', row.target)}"] = (once, environment)
            elif contender.name.startswith("by hand, exact"):
                by_hand = by_hand_command(Bundle.open(bundle_of(setting.bundles, row)), Path(image), python)
                commands[f"by hand, {row.target}"] = (by_hand, environment)
    return commands


def write_tables(record: Path) -> None:
    """The tables of docs/measured.md anew."""
    page = between(PAGE.read_text(encoding="utf-8"), BEGIN, END, tables(json.loads(record.read_bytes())))
    PAGE.write_text(page, encoding="utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--environment", type=Path, required=True, metavar="FOLDER", help="the peers' environments")
    parser.add_argument("--bundles", type=Path, required=True, metavar="FOLDER", help="runs, bundles, peers' forms")
    parser.add_argument("--data", type=Path, required=True, metavar="FOLDER", help="labelled images, some hundred")
    parser.add_argument("--images", type=Path, required=True, metavar="FOLDER", help="photographs")
    parser.add_argument("--count", type=int, default=128, help="JPEGs of each size")
    parser.add_argument("--rounds", type=int, default=4)
    parser.add_argument("--seconds", type=float, default=0.4, help="about, of a turn")
    parser.add_argument("--prepare", action="store_true", help="make environments and bundles, measure nothing")
    parser.add_argument("-o", "--output", type=Path)
    given = parser.parse_args()
    if given.output is None and not given.prepare:
        parser.error("-o is missing: where the record goes")
    for place in (given.data, given.images):
        if not place.is_dir():
            parser.error(f"{place}: no such folder of images")
    with tempfile.TemporaryDirectory(prefix="edgeclf-peers-") as folder:
        setting = Setting(given, Path(folder))
        if given.prepare:
            return
        figures = {
            "images": given.count,
            "threads": setting.threads,
            "rounds": given.rounds,
            "seconds_a_turn": given.seconds,
            "requirements": {name: list(each) for name, each in REQUIREMENTS.items()},
            "not_installed": setting.not_installed,
            "rows": [measured_row(setting, row, given.rounds) for row in ROWS],
            "cold_starts": measure_cold_starts(cold_commands(setting), _COLD_TURNS),
        }
    write_record(given.output, "edgeclf_benchmarks.records.peers", figures)
    write_tables(given.output)


if __name__ == "__main__":
    main()
