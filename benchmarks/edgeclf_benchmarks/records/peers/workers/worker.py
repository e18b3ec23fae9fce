"""Runs one contender in turns, in the environment of a peer.

    PYTHON worker.py SCRIPT SETTINGS            turns: one for each line of stdin, a line of JSON for each on stdout
    PYTHON worker.py SCRIPT SETTINGS --once FILE    predicts one image and ends: a cold start

SCRIPT defines `open_peer(settings)`, which returns a function (paths of images -> their top-1 classes, empty where
nothing is classified) and what it found out about itself (precision, batch, …). SETTINGS is JSON. The first line of
stdout tells what was opened and what it predicted for all images, which warmed it. A turn predicts as many images as
take about `seconds` at the rate of the turn before; the first one is short and only finds that rate.
"""

from __future__ import annotations

import importlib.util
import json
import os
import sys
import time
from collections.abc import Callable, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

Predict = Callable[[Sequence[str]], Sequence[int]]
_STEP = 32  # images: two threads with two batches of 8


def open_peer(script: str, settings: dict[str, Any]) -> tuple[Predict, dict[str, Any]]:
    """What the script's own `open_peer` gives."""
    spec = importlib.util.spec_from_file_location(Path(script).stem, script)
    if spec is None or spec.loader is None:
        raise SystemExit(f"{script}: no Python script")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    predict, facts = module.open_peer(settings)
    return predict, facts


def images_and_passes(images_per_s: float, images: int, seconds: float) -> tuple[int, int]:
    """How many of the images a turn predicts and how often, so that it takes about so many seconds."""
    wanted = images_per_s * seconds
    if wanted < images:
        return min(images, max(1, round(wanted / _STEP)) * _STEP), 1
    return images, max(1, round(wanted / images))


def let_torchvision_load() -> list[Any]:
    """PyPI's torchvision beside a CPU torch misses operators that its import describes; classifiers need none.

    What it returns has to be kept: they go away with it. edgeclf, where it is installed, sees to that itself.
    """
    if not importlib.util.find_spec("torchvision") or importlib.util.find_spec("edgeclf_runtime"):
        return []
    import torch

    try:
        import torchvision  # noqa: F401
    except RuntimeError:
        library: Any = torch.library.Library("torchvision", "FRAGMENT")  # type: ignore[no-untyped-call]
        for name in ("nms", "qnms"):
            library.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
        return [library]
    return []


def take_turns(predict: Predict, facts: dict[str, Any], settings: dict[str, Any], out: Any) -> None:
    """Warms up, says so, and measures once for each line of stdin."""
    files = sorted(str(path) for path in Path(settings["images"]).iterdir())
    top1 = [int(each) for each in predict(files)]
    versions = {name: version(name) for name in settings["packages"]}
    print(json.dumps({"facts": facts, "versions": versions, "top1": top1}), file=out)
    count, passes = min(len(files), _STEP), 1
    for _ in sys.stdin:
        start, cpu_start = time.perf_counter(), time.process_time()
        for _ in range(passes):
            predict(files[:count])
        seconds, cpu_seconds = time.perf_counter() - start, time.process_time() - cpu_start
        print(json.dumps({"images": count * passes, "seconds": seconds, "cpu_seconds": cpu_seconds}), file=out)
        count, passes = images_and_passes(count * passes / seconds, len(files), settings["seconds"])


def main() -> None:
    script, settings = sys.argv[1], json.loads(sys.argv[2])
    out = os.fdopen(os.dup(1), "w", buffering=1, encoding="utf-8")
    os.dup2(2, 1)  # what a peer prints is no answer of this worker
    kept = let_torchvision_load()
    predict, facts = open_peer(script, settings)
    if "--once" in sys.argv:
        print(json.dumps({"top1": [int(each) for each in predict(sys.argv[-1:])]}), file=out)
    else:
        take_turns(predict, facts, settings, out)
    kept.clear()


if __name__ == "__main__":
    main()
