"""Several labels an image: mAP of HOG + SVM, probe and fine-tuning, and what int8 loses of it, on two engines.

    python -m edgeclf_benchmarks.records.multi_label collages NAME=FOLDER --keep DIR -o FILE

`collages` is the set of `edgeclf data fetch`. NAME=FOLDER makes collages of the images of FOLDER/train/CLASS and
FOLDER/test/CLASS: none to three in one image, each of them once, 600 to train on, 400 to validate, 600 to test. A
network, EfficientNet-Lite0 with ImageNet weights, is a head on its features or is tuned whole; its bundles are held
against its PyTorch one on the test images, paired. Everything is kept in --keep: after Ctrl-C the same command goes on.
"""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgeclf_benchmarks.measuring.report import Report, read_report
from edgeclf_benchmarks.measuring.report_rows import Row
from edgeclf_benchmarks.records.commands import edgeclf, gated, trained
from edgeclf_benchmarks.records.made_collages import make_collages
from edgeclf_benchmarks.records.record import write_record
from edgeclf_benchmarks.records.training import BACKBONE
from edgeclf_runtime.metrics.intervals import Interval
from edgeclf_runtime.metrics.multilabel import MultiLabelEvaluation

_COUNTS = {"train": 600, "val": 400, "test": 600}
_CELL_PX = 32
_STRATEGIES = {"two-phase": "3", "linear-probe": "10"}  # and their epochs
_ENGINES = ("-t", "onnx", "-t", "openvino")
_QUICK = ("--split", "test", "--images", "all", "--rounds", "2", "--duration", "0.1", "--quick", "--no-plain-loop")


@dataclass(frozen=True, slots=True)
class Place:
    """The folder that all commands run in, and the split of one data set."""

    folder: Path
    name: str
    split: Path

    def bundles(self, stem: str) -> list[str]:
        """The bundles of a run, or of the baseline, as `bench` takes them."""
        return sorted(str(each) for each in (self.folder / "bundles").glob(f"{stem}-*") if each.is_dir())

    def kept(self, name: str, *command: str) -> Any:
        """What a command prints, from the file where it was kept if it has been run already."""
        file = self.folder / f"{name}.json"
        if not file.exists():
            file.write_text(json.dumps(gated(*command, folder=self.folder)), "utf-8")
        return json.loads(file.read_text("utf-8"))


def measure(place: Place, side_px: int) -> Iterator[dict[str, Any]]:
    """Trains, exports and benches what is missing of a data set; its figures after each of the approaches."""
    baseline = f"{place.name}-hog"
    place.kept(baseline, "baseline", str(place.split), "--name", baseline, "--folds", "0")
    split = json.loads(place.split.read_text("utf-8"))
    counts = {name: sum(image["split"] == name for image in split["items"]) for name in ("train", "val", "test")}
    found: dict[str, Any] = {"data": place.name, "labels": len(split["classes"]), "images": counts}
    found |= {"img_size_px": side_px, "HOG + SVM": [_figures(row) for row in _benched(place, baseline).rows]}
    yield found
    for strategy, epochs in _STRATEGIES.items():
        stem = f"{place.name}-{strategy}"
        options = (*BACKBONE, "--strategy", strategy, "--epochs", epochs, "--img-size", str(side_px))
        run = str(trained(place.folder / "runs" / stem, place.split, *options))
        place.kept(f"{stem}-fp32", "export", run, "-t", "pytorch", *_ENGINES)
        int8 = place.kept(f"{stem}-int8", "export", run, *_ENGINES, "--precision", "int8")
        rows = [_figures(row) for row in _benched(place, stem).rows]
        found[strategy] = {"epochs": int(epochs), "bundles": rows, "int8": int8.get("refused") or list(_steps(int8))}
        yield found


def _benched(place: Place, stem: str) -> Report:
    report = place.folder / f"{stem}-bench.json"
    if not report.exists():
        command = ("bench", *place.bundles(stem), "--data", str(place.split), *_QUICK, "-o", str(report))
        edgeclf(*command, folder=place.folder)
    return read_report(report)


def _figures(row: Row) -> dict[str, Any]:
    """A row's figures on the test images, and how it differs from the reference."""
    found, parity = row.evaluation, row.parity
    if not isinstance(found, MultiLabelEvaluation) or found.mean_average_precision is None:
        raise SystemExit(f"{row.name}: no mAP; its test images have no label")
    own = {
        "bundle": row.name,
        "target": row.target,
        "precision": row.compute_precision,
        "map": round(found.mean_average_precision, 4),
        "map_interval": _rounded(found.mean_average_precision_interval, 4),
        "macro_f1": None if found.macro_f1 is None else round(found.macro_f1, 4),
        "exact_match": round(found.exact_match, 4),
        "exact_match_interval": _rounded(found.exact_match_interval, 4),
    }
    if parity is None:
        return own
    against = {
        "reference": parity.reference,
        "map_change_points": round(parity.change_points, 3),
        "map_change_interval_points": _rounded(parity.change_interval_points, 3),
        "lower_bound_points": round(parity.lower_bound_points, 3),
        "margin_points": parity.margin_points,
        "verdict": parity.verdict,
        "label_agreement": round(parity.agreement, 5),
        "labels_lost": parity.right_to_wrong,
        "labels_gained": parity.wrong_to_right,
        "largest_difference_of_range": None if parity.logits is None else float(f"{parity.logits.max_relative:.2g}"),
    }
    return {**own, "paired": against}


def _steps(exported: Any) -> Iterator[dict[str, Any]]:
    """Which step of the ladder became each int8 bundle, and what its accuracy gate found."""
    for bundle in exported["bundles"]:
        ladder = bundle["ladder"]
        chosen = next(step for step in ladder["rungs"] if step["name"] == ladder["chosen"])
        yield {
            "target": bundle["target"],
            "step": ladder["chosen"],
            "gate": chosen["judged"] and chosen["judged"]["verdict"],
            "gate_on_test": ladder["final"] and ladder["final"]["verdict"],
            "proof": bundle["proof"]["verdict"],
        }


def _rounded(interval: Interval | None, digits: int) -> list[float] | None:
    return None if interval is None else [round(interval.low, digits), round(interval.high, digits)]


def _place(word: str, folder: Path) -> Place:
    name, own, source = word.partition("=")
    split = folder / f"{name}.json"
    if not split.exists():
        if own:
            table = make_collages(Path(source).resolve(), folder / name, _COUNTS, _CELL_PX)
        else:
            edgeclf("data", "fetch", name, str(folder / name), "--force", folder=folder)
            table = folder / name / "images.csv"
        edgeclf("data", "split", str(table), "-o", str(split), folder=folder)
    return Place(folder, name, split)


def _load() -> float:
    return round(os.getloadavg()[0], 1)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sets", nargs="+", metavar="SET", help="collages, or NAME=FOLDER")
    parser.add_argument("--img-size", type=int, default=64, metavar="PX")
    parser.add_argument("--keep", type=Path, required=True, metavar="FOLDER", help="for data, runs, bundles, reports")
    parser.add_argument("-o", "--output", type=Path, required=True)
    given = parser.parse_args()
    given.keep.mkdir(parents=True, exist_ok=True)
    folder = given.keep.resolve()
    cases: dict[str, dict[str, Any]] = {}
    for word in given.sets:
        for found in measure(_place(word, folder), given.img_size):
            cases[found["data"]] = found
            figures = {"network": " ".join(BACKBONE), "cases": [*cases.values()]}
            write_record(given.output, "edgeclf_benchmarks.records.multi_label", {**figures, "load_average": _load()})


if __name__ == "__main__":
    main()
