"""Faults planted in bundles whose hashes are right: which verb finds which? `docs/proof.md` has the table.

    python tests/support/planted_faults.py                      # all: 10 minutes, writes the table in docs/proof.md
    python tests/support/planted_faults.py "other background"   # writes that row alone
    python tests/support/planted_faults.py --litert             # of litert's bundles: the table in docs/litert.md

A fault is planted twice: in the exporter, which shall not publish such a bundle, and in a finished bundle, which
`verify` shall refuse on the device and `bench` shall not time.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from fault_finding import found_by_bench, found_by_verify, verify_case
from fault_network import Trained, train
from fault_planting import export_case, make_faulty
from faults import CASES, FAULTS, WHY_NOT, Case, Fault

from edgeclf_runtime.bundle.bundle import Bundle
from edgeclf_runtime.errors import GateError

ROOT = Path(__file__).parents[2]


_START, _END = "<!-- planted faults -->\n", "<!-- end -->"
_HEAD = ("| planted | `export` publishes it | `verify` | `bench` |", "| --- | --- | --- | --- |")


@dataclass(frozen=True)
class Found:
    """Which verbs found one fault in one case; None: not planted there."""

    case: Case
    export: bool | None
    verify: bool
    bench: bool | None


def try_fault(trained: Trained, fault: Fault, sound: dict[Case, Path], folder: Path) -> Iterator[Found]:
    for case, bundle in sound.items():
        if not fault.fits(case):
            continue
        place = folder / f"{fault.name}-{case}".replace(" ", "-")
        exported: bool | None = None
        if case.target != "hog-svm":
            try:
                exported = bool(Bundle.open(export_case(trained, case, place / "exported", fault)).path is None)
            except GateError:
                exported = True
        faulty = make_faulty(trained, case, bundle, fault, place / "faulty")
        portable = faulty.manifest.state == "portable"
        yield Found(case, exported, found_by_verify(faulty, fault), None if portable else found_by_bench(faulty, fault))


def row(fault: str, found: list[Found]) -> str:
    """One line of the table."""
    cells = [_cell({each.case: getattr(each, verb) for each in found}) for verb in ("export", "verify", "bench")]
    if fault in WHY_NOT and cells[0].startswith("nothing"):
        cells[0] = f"yes: {WHY_NOT[fault]}"
    elif cells[0].startswith("found"):
        cells[0] = f"no: {cells[0]}"
    return f"| {fault} | {' | '.join(cells)} |"


def write_rows(page: Path, rows: dict[str, str]) -> None:
    """Puts the rows into the table of the page, in the order of FAULTS; others stay as they are."""
    before, rest = page.read_text(encoding="utf-8").split(_START)
    old, after = rest.split(_END)
    known = {line.split(" | ")[0].removeprefix("| "): line for line in old.splitlines()[2:]} | rows
    lines = [*_HEAD, *(known[fault.name] for fault in FAULTS if fault.name in known)]
    page.write_text(f"{before}{_START}{chr(10).join(lines)}\n{_END}{after}", encoding="utf-8")


def _cell(outcomes: dict[Case, bool | None]) -> str:
    known = {case: hit for case, hit in outcomes.items() if hit is not None}
    hits = [case for case, hit in known.items() if hit]
    if not known:
        return "–"
    if len(hits) == len(known):
        return f"found, {len(known)} of {len(known)}"
    if not hits:
        return f"nothing, 0 of {len(known)}"
    return f"found, but for {', '.join(str(case) for case, hit in known.items() if not hit)}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("faults", nargs="*", default=[fault.name for fault in FAULTS], metavar="FAULT")
    parser.add_argument("--litert", action="store_true", help="its bundles alone; needs litert-export")
    given = parser.parse_args()
    cases = [case for case in CASES if (case.target == "litert") == given.litert]
    page = ROOT / "docs" / ("litert.md" if given.litert else "proof.md")
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        trained = train(folder / "patches")
        sound = {}
        for case in cases:
            sound[case] = export_case(trained, case, folder / "sound" / str(case).replace(" ", "-"))
            print(f"sound: {case}: {verify_case(Bundle.open(sound[case])).verdict}", file=sys.stderr)
        for fault in (fault for fault in FAULTS if fault.name in given.faults):
            found = list(try_fault(trained, fault, sound, folder))
            print(row(fault.name, found), *found, sep="\n  ", file=sys.stderr)
            write_rows(page, {fault.name: row(fault.name, found)})


if __name__ == "__main__":
    main()
