"""The first tables of docs/measured.md, made from the record: images a second, and cold starts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from edgeclf_benchmarks.page.escaping import markdown_table
from edgeclf_benchmarks.records.peers.bound import rate, summary

BEGIN = "<!-- python -m edgeclf_benchmarks.records.peers writes what follows -->"
END = "<!-- until here: peers -->"
_ORDER = ("model_api", "Ultralytics", "Optimum", "transformers")
_HEADINGS = (
    "images/s",
    "edgeclf, batch 1",
    "edgeclf, auto",
    "by hand, batches",
    "OpenCV, requests",
    *_ORDER,
    "pixels alone",
    "engine alone",
    "bound",
    "edgeclf / bound",
)
_SHORT = {"mobilenetv3_large_100": "MobileNetV3-large", "resnet50": "ResNet-50", "openvino": "OpenVINO", "onnx": "ONNX"}


def tables(record: Mapping[str, Any]) -> str:
    """Markdown: a line for each row and kind of pixels, the cold starts, and what the figures are."""
    figures = record["figures"]
    lines = [_line(row, pixels) for row in figures["rows"] for pixels in ("exact", "fast")]
    machine = record["machine"].get("cpu") or "an unnamed machine"
    missing = "".join(f" {name} is not measured: {why}." for name, why in figures["not_installed"].items())
    return (
        f"{markdown_table(_HEADINGS, lines)}\n"
        f"Medians of {figures['rounds']} interleaved rounds, {figures['images']} JPEGs (small: 500x333, large: "
        f"1920x1280), {figures['threads']} threads, {machine}, {record['created_utc'][:10]}; the same weights and a "
        "precision that was asked for everywhere. Fast pixels are some levels off; what computes pixels of its own "
        "stands with them. Bound: both parts, each at its best alone, on "
        f"the same cores.{missing} `{record['made_by']}` made [the record](../benchmarks/results/peers.json), "
        "with versions, spreads and the share of equal predictions.\n\n"
        f"{_cold_table(figures['cold_starts'])}\n"
        f"One image, a whole process with its imports, {figures['threads']} threads; medians in turns.\n"
    )


def _line(row: Mapping[str, Any], pixels: str) -> tuple[str, ...]:
    found = {each["name"]: each for each in row["contenders"]}
    own = [_measured(found, f"edgeclf, {pixels}, {name}") for name in ("batch 1", "auto")]
    hand = [
        _measured(found, f"by hand, {pixels}, batches of 8"),
        _with_pixels(found, "OpenCV, asynchronous requests", pixels),
    ]
    peers = [_with_pixels(found, name, pixels) for name in _ORDER]
    best = max((each for each in (*own, *hand, *peers) if each is not None), default=None)
    cells = [_cell(each, best) for each in (*own, *hand, *peers)]
    told = summary(row["contenders"], pixels)
    parts = ("n/a",) * 4 if told is None else _of_bound(told)
    precision = {"int8": "INT8"}.get(row["precision"], row["precision"])
    name = f"{_SHORT[row['backbone']]}, {_SHORT[row['target']]} {precision}, {row['size']}, {pixels}"
    return (name, *cells, *parts)


def _of_bound(told: Mapping[str, Any]) -> tuple[str, ...]:
    rates = (f"{told[name]:,.0f}" for name in ("pixels_alone", "engine_alone", "bound"))
    return (*rates, f"{told['share_of_bound']:.2f}")


def _measured(found: Mapping[str, Mapping[str, Any]], name: str) -> float | None:
    return rate(found[name]) if name in found else None


def _with_pixels(found: Mapping[str, Mapping[str, Any]], name: str, pixels: str) -> float | None:
    """Its figure in the line that it belongs to: of exact pixels, or of all others."""
    exact = name in found and found[name]["pixels"] == "exact"
    return _measured(found, name) if exact == (pixels == "exact") else None


def _cell(found: float | None, best: float | None) -> str:
    if found is None:
        return ""
    return f"{found:,.0f}, first" if found == best else f"{found:,.0f}"


def _cold_table(found: Mapping[str, Mapping[str, Any]]) -> str:
    rows: Sequence[tuple[str, ...]] = [
        (name, f"{each['seconds']['median']:.2f}", f"{each['cpu_s']['median']:.2f}")
        for name, each in found.items()
        if "failed" not in each
    ]
    return markdown_table(("cold start", "seconds", "CPU seconds"), rows)
