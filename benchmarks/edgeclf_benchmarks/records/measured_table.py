"""The table of latencies in docs/measured.md, made from the record of `survey`.

    python -m edgeclf_benchmarks.records.measured_table

Writes it between the two comments in docs/measured.md that name this module; with --check it only tests whether the
table is up to date.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from edgeclf_benchmarks.page.escaping import markdown_table
from edgeclf_benchmarks.records.survey import TARGETS

ROOT = Path(__file__).parents[3]
PAGE, RECORD = ROOT / "docs" / "measured.md", ROOT / "benchmarks" / "results" / "bench.json"
BEGIN = "<!-- python -m edgeclf_benchmarks.records.measured_table writes what follows -->"
END = "<!-- until here -->"
_PLAIN = "plain-loop"


def table(record: dict[str, Any]) -> str:
    """Markdown: a line a backbone, then which machine and which command the figures come from."""
    figures = record["figures"]
    first = figures[0]["rows"][0]["latency"][0]
    threads, batch = first["threads"], first["batch"]
    rows = [_line(backbone, threads, batch) for backbone in figures]
    headings = ("backbone", "input", "plain PyTorch, end to end", *(f"{target}, infer" for target in TARGETS))
    ends = tuple(f"{target}, end to end" for target in TARGETS)
    cores = "1 thread" if threads == 1 else f"{threads} threads"
    machine = record["machine"].get("jetson") or record["machine"].get("cpu") or "an unnamed machine"
    return (
        f"{markdown_table((*headings, *ends), rows)}\n"
        f"Median milliseconds of one image [95 %], batch {batch}, {cores}, {machine}, {record['created_utc'][:10]}; "
        "infer is pixels to logits, end to end with decoding and resizing. "
        f"`{record['made_by']}` made [the record](../benchmarks/results/bench.json).\n"
    )


def _line(backbone: dict[str, Any], threads: int, batch: int) -> tuple[str, ...]:
    rows = {row["target"] if row["kind"] != _PLAIN else _PLAIN: row for row in backbone["rows"]}
    height, width = backbone["rows"][0]["input_px"]
    infer = [_cell(rows.get(target), "infer", threads, batch) for target in TARGETS]
    whole = [_cell(rows.get(target), "end_to_end", threads, batch) for target in TARGETS]
    plain = _cell(rows.get(_PLAIN), "end_to_end", threads, batch)
    return (backbone["backbone"], f"{width}x{height}", plain, *infer, *whole)


def _cell(row: dict[str, Any] | None, stage: str, threads: int, batch: int) -> str:
    """ "3.61 [3.58, 3.66]"; "n/a" for what was not measured."""
    for each in row["latency"] if row is not None else ():
        if (each["stage"], each["threads"], each["batch"]) == (stage, threads, batch):
            bounds = each["p50_interval_ms"]
            return f"{each['p50_ms']:.2f}" + (f" [{bounds[0]:.2f}, {bounds[1]:.2f}]" if bounds else "")
    return "n/a"


def with_table(page: str, record: dict[str, Any]) -> str:
    """The page with the record's table in its place. Raises ValueError where the two comments are not there once."""
    return between(page, BEGIN, END, table(record))


def between(page: str, begin: str, end: str, text: str) -> str:
    """The page with `text` between its lines `begin` and `end`. Raises ValueError where they are not there once."""
    if page.count(begin) != 1 or page.count(end) != 1 or page.index(begin) > page.index(end):
        raise ValueError(f"wanted the lines {begin!r} and {end!r} in docs/measured.md, once each and in this order")
    before, rest = page.split(begin)
    return f"{before}{begin}\n\n{text}\n{end}{rest.split(end)[1]}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="change nothing; exit with 1 if it would")
    given = parser.parse_args()
    before = PAGE.read_text(encoding="utf-8")
    after = with_table(before, json.loads(RECORD.read_bytes()))
    if before == after:
        print("docs/measured.md agrees with the record", file=sys.stderr)
    elif given.check:
        raise SystemExit("docs/measured.md does not agree with benchmarks/results/bench.json; run without --check")
    else:
        PAGE.write_text(after, encoding="utf-8")
        print("wrote the table into docs/measured.md", file=sys.stderr)


if __name__ == "__main__":
    main()
