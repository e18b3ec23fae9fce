"""The bound: how many images a second the two parts of the work, each alone at its best, leave to the whole.

Every image needs its pixels (read, decoded, resized) and its logits. Measured alone, with all cores at work, pixels
come at D images a second and logits at E. An image then takes 1/D seconds of all cores for the one and 1/E for the
other, and since both are done by the same cores, the whole reaches at most

    1 / (1/D + 1/E)

D is the best that anybody measured in the row with those pixels, E the best of the batch sizes, so that nothing that
edgeclf itself leaves undone in a part makes the bound lower. It is no law: two kinds of work that share a core's
hyper-threads, or find each other's data in a cache, may exceed it by a little.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

COMPARABLE = {"exact": ("exact",), "fast": ("exact", "fast", "own")}  # whose images a second count beside whose


def bound(pixels_per_s: float, logits_per_s: float) -> float:
    """Most images a second of both parts on the same cores."""
    return 1 / (1 / pixels_per_s + 1 / logits_per_s)


def rate(figures: Mapping[str, Any]) -> float | None:
    """Median images a second; None: it was not measured."""
    found = figures.get("images_per_s")
    return None if found is None else float(found["median"])


def summary(found: Sequence[Mapping[str, Any]], pixels: str) -> dict[str, Any] | None:
    """edgeclf beside the best of the others and beside the bound, with those pixels; None: it can't be told."""
    own = _best(each for each in found if each["role"] == "edgeclf" and each["pixels"] == pixels)
    parts = [each for each in found if each["role"] == "part"]
    decoding = _best(each for each in parts if each["name"].startswith("pixels") and each["pixels"] == pixels)
    engine = _best(each for each in parts if each["name"].startswith("engine"))
    others = [each for each in found if each["role"] in ("by hand", "peer")]
    other = _best(each for each in others if each["pixels"] in COMPARABLE[pixels])
    if own is None or decoding is None or engine is None:
        return None
    most = bound(decoding[1], engine[1])
    return {
        "edgeclf": own[1],
        "by": own[0],
        "pixels_alone": decoding[1],
        "engine_alone": engine[1],
        "bound": round(most, 1),
        "share_of_bound": round(own[1] / most, 3),
        "best_other": None if other is None else {"name": other[0], "images_per_s": other[1]},
        "first": other is None or own[1] >= other[1],
        "profile": profile(found, own[0], decoding[0], engine[0]),
    }


def profile(found: Sequence[Mapping[str, Any]], whole: str, pixels: str, engine: str) -> dict[str, float] | None:
    """Where the whole loses to its parts: CPU milliseconds an image of each, and cores at work while it ran.

    `added_cpu_ms` is work that no part alone has: Python between them, copies, caches that the parts empty for each
    other. `cores_busy` below the threads is waiting: for a lock, for the last batch, for other processes. None: the
    CPU time was not measured.
    """
    named = {each["name"]: each for each in found}
    if any("cpu_ms_an_image" not in named[name] for name in (whole, pixels, engine)):
        return None
    cpu_ms = [float(named[name]["cpu_ms_an_image"]["median"]) for name in (whole, pixels, engine)]
    return {
        "whole_cpu_ms": cpu_ms[0],
        "pixels_cpu_ms": cpu_ms[1],
        "engine_cpu_ms": cpu_ms[2],
        "added_cpu_ms": round(cpu_ms[0] - cpu_ms[1] - cpu_ms[2], 2),
        "cores_busy": round(cpu_ms[0] * (rate(named[whole]) or 0) / 1000, 2),
    }


def _best(found: Any) -> tuple[str, float] | None:
    """(name, images a second) of the fastest; None: none was measured."""
    measured = [(each["name"], rate(each)) for each in found]
    return max(((name, each) for name, each in measured if each is not None), key=lambda pair: pair[1], default=None)
