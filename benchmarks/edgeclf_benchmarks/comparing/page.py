"""A comparison as ONE self-contained HTML page: no script, no network, for screens of all sizes and for paper."""

from __future__ import annotations

from collections.abc import Iterator

from edgeclf_benchmarks.comparing.columns import PARITY, SPEED, Column, told
from edgeclf_benchmarks.comparing.compare import Compared, Entry, entries_of
from edgeclf_benchmarks.comparing.drawing import ecdf, pareto, stages
from edgeclf_benchmarks.comparing.markup import table, text
from edgeclf_benchmarks.comparing.sections import commands, confusions, machines, per_class, warnings

_STYLE = """
:root{color-scheme:light dark;--ink:#1c1e21;--dim:#5b6067;--paper:#fff;--line:#d5d8dc;--soft:#f3f5f7;--good:#1b6e3c;
--bad:#b3261e;--open:#8a5a00;--c0:#0b62a4;--c1:#b3470b;--c2:#1b7a46;--c3:#8d2f83;--c4:#6b5b00;--c5:#b0224f;--c6:#3d4fb8;
--c7:#4d5560;--label:#fff}
@media (prefers-color-scheme:dark){:root{--ink:#e8eaed;--dim:#a6adb5;--paper:#15171a;--line:#3a3f45;--soft:#1f2226;
--good:#6fd08c;--bad:#ff8a80;--open:#ffcb6b;--c0:#7cc0f5;--c1:#ffab76;--c2:#7fd6a0;--c3:#e3a1db;--c4:#dccb66;
--c5:#ff9db8;--c6:#aab6ff;--c7:#c0c7d0;--label:#101214}}
*{box-sizing:border-box} body{font:16px/1.5 system-ui,sans-serif;max-width:76em;margin:0 auto;padding:1em;
color:var(--ink);background:var(--paper)} h1{font-size:1.5em;line-height:1.25;overflow-wrap:anywhere}
h2{font-size:1.2em;margin:2em 0 .5em;border-bottom:1px solid var(--line)} p,li,figcaption,summary,caption
{overflow-wrap:anywhere} .verdict{background:var(--soft);border-left:4px solid var(--c0);padding:.6em 1em .6em 1.8em;
font-size:1.05em} .dim,figcaption,caption{color:var(--dim)} .wide{overflow-x:auto;margin:.8em 0}
table{border-collapse:collapse;font-size:.9em;font-variant-numeric:tabular-nums} caption{text-align:left;padding:.3em 0}
th,td{padding:.3em .8em;text-align:left;vertical-align:top;border-bottom:1px solid var(--line);min-width:3em}
td{white-space:nowrap} td:last-child,.hashes td{white-space:normal;overflow-wrap:anywhere} thead th{color:var(--dim);
font-weight:600} tbody th{font-weight:600;min-width:9em;overflow-wrap:anywhere} .hashes td{min-width:8em}
.matrix td{text-align:right;min-width:2.6em} .matrix tbody th{min-width:4em}
.matrix .right{background:color-mix(in srgb,var(--c2) calc(var(--share)*.4),transparent)}
.matrix .wrong{background:color-mix(in srgb,var(--bad) calc(var(--share)*.6),transparent)}
.pass{color:var(--good)} .fail{color:var(--bad);font-weight:700} .inconclusive{color:var(--open)}
figure{margin:1em 0} svg{width:100%;max-width:720px;height:auto;font:13px system-ui,sans-serif}
svg text{fill:var(--ink)}
.grid{stroke:var(--line);fill:none} .axis{stroke:var(--dim);fill:none} .front{stroke:var(--dim);fill:none;
stroke-dasharray:5 4} .bars,.line{fill:none;stroke-width:2} svg .number{fill:var(--label);font-weight:700;
text-anchor:middle} .before{fill:var(--c0);opacity:.4} .infer{fill:var(--c0)} .mark{stroke:var(--ink);stroke-width:2}
code{overflow-wrap:anywhere;background:var(--soft)} summary{cursor:pointer;padding:.3em 0}
:focus-visible{outline:3px solid var(--c0);outline-offset:2px}
@media (max-width:600px){svg{font-size:20px} body{padding:.7em} td:last-child{min-width:12em}}
@media print{:root{--ink:#000;--paper:#fff;--soft:#fff;--dim:#333;--label:#fff} body{max-width:none;font-size:10pt}
.wide{overflow:visible} td{white-space:normal} table{font-size:7.5pt} th,td{padding:.2em .4em;min-width:0}
tbody th,.hashes td,td:last-child{min-width:0} figure,tr,details{break-inside:avoid} h2{break-after:avoid}}
""" + "".join(
    f".c{number} .bars,.c{number} .line{{stroke:var(--c{number})}} .c{number} circle{{fill:var(--c{number})}}\n"
    for number in range(8)
)


def page(compared: Compared) -> str:
    """The whole page."""
    entries = entries_of(compared.sources)
    title = "edgeclf: " + ", ".join(dict.fromkeys(row.name for each in compared.sources for row in each.report.rows))
    shown = title if len(title) <= 120 else title[:117] + "…"
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">"
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{text(shown)}</title><style>{_STYLE}</style></head>\n<body><main><h1>{text(shown)}</h1>"
        + "".join(_parts(compared, entries))
        + "</main></body></html>\n"
    )


def _parts(compared: Compared, entries: tuple[Entry, ...]) -> Iterator[str]:
    yield f'<h2>Verdict</h2><ul class="verdict">{"".join(f"<li>{text(each)}</li>" for each in compared.verdict)}</ul>'
    if compared.gates:
        gates = [(gate.line, gate.verdict) for gate in compared.gates]
        yield table("Gates", ("fails if: row: found", "verdict"), gates)
    if picture := pareto(entries):
        yield f"<h2>Latency against accuracy</h2>{picture}{_legend(entries)}"
    yield f"<h2>Figures</h2>{_figures('Speed, accuracy and cost of each row', SPEED, entries)}{_fine_print(compared)}"
    against = tuple(entry for entry in entries if entry.row.parity is not None)
    if against:
        figures = _figures("Each row and its reference on the same images", PARITY, against)
        yield f"<h2>Parity with the reference</h2>{figures}"
    if picture := ecdf(entries):
        yield f"<h2>Distribution of latency</h2>{picture}{_legend(entries)}"
    if picture := stages(entries):
        yield f"<h2>Stages</h2>{picture}{_legend(entries)}"
    if found := confusions(entries):
        yield f"<h2>Confusion</h2>{found}"
    if found := per_class(entries):
        yield f"<h2>Classes</h2>{found}{_legend(entries)}"
    yield f"<h2>Warnings</h2>{warnings(compared.sources)}"
    yield f"<h2>Machines and conditions</h2>{machines(compared.sources)}"
    yield f"<h2>Commands and hashes</h2>{commands(compared)}"


def _figures(caption: str, columns: tuple[Column, ...], entries: tuple[Entry, ...]) -> str:
    shown = told(columns, entries)
    rows = [(entry.name, *(column.cell(entry) for column in shown)) for entry in entries]
    return table(caption, ("row", *(column.heading for column in shown)), rows)


def _legend(entries: tuple[Entry, ...]) -> str:
    """The numbers in the pictures are places in this list."""
    return f'<ol class="dim">{"".join(f"<li>{text(entry.name)}</li>" for entry in entries)}</ol>'


def _fine_print(compared: Compared) -> str:
    settings = " · ".join(
        f"{each.file}: batch {found.batch_sizes[0]}, {found.threads[0]} threads, {found.rounds} rounds, {found.device}"
        for each in compared.sources
        for found in (each.report.settings,)
    )
    return (
        f'<p class="dim">{text(settings)}. Brackets are 95 % intervals. A percentile is the upper bound of LoadGen\'s '
        "early stopping, and is shown only with enough samples.</p>"
    )
