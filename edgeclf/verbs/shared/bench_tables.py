"""What `edgeclf bench` shows: its report as tables."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from edgeclf.console import grid, say, show, styled, verdict
from edgeclf.evaluation.test_set_usage import TestUse
from edgeclf.wording import count, size
from edgeclf_benchmarks.measuring.report import Report
from edgeclf_benchmarks.measuring.report_rows import Row
from edgeclf_benchmarks.measuring.timing import PERCENTILES, Latency, too_few_calls
from edgeclf_runtime.metrics.multilabel import MultiLabelEvaluation
from edgeclf_runtime.metrics.rounding import in_ms, significant

if TYPE_CHECKING:
    from rich.console import RenderableType

    from edgeclf.sheet import Sheet

_NONE = "n/a"


def show_report(report: Report) -> None:
    """The tables on stdout, then the warnings on stderr."""
    show(*_tables(report))
    for caution in report.cautions:
        about = f"{caution.row}: " if caution.row else ""
        say(
            f"! {about}{caution.found}; {caution.advice}", style="bold yellow" if caution.about == "proof" else "yellow"
        )
    for row in report.rows:
        if row.parity is not None and row.parity.verdict != "pass":
            say(f"{row.parity.verdict.upper()}: {row.name}: {row.parity.reason}", style="bold yellow")
    uses = [row.test_look for row in report.rows if row.test_look is not None]
    if uses and report.data is not None:
        say(str(TestUse(len(report.data.images), max(uses), "")), style="bold")


def _tables(report: Report) -> Iterator[RenderableType]:
    batch, threads = report.settings.batch_sizes[0], report.settings.threads[0]
    yield styled(f"pixels to logits, batch {batch}, {count(threads, 'thread')}, {report.machine.get('cpu', '')}", "dim")
    yield _latency_table(report, batch, threads)
    if lacking := too_few_calls([(row.name, row.latency("infer", batch, threads)) for row in report.rows]):
        yield styled(lacking, "dim")
    yield ""
    yield _cost_table(report, batch, threads)
    if report.data is not None and any(row.evaluation for row in report.rows):
        about = report.data.in_words
        yield ""
        yield styled(about + (" (selected on these images)" if report.data.selected_on else ""), "dim")
        yield _parity_table(report)
    if any(row.robustness for row in report.rows):
        yield ""
        yield from _robustness(report)
    if report.gates:
        yield ""
        yield _gates_table(report)
    if len(report.settings.batch_sizes) * len(report.settings.threads) > 1:
        yield ""
        yield _sweep_table(report)


def _latency_table(report: Report, batch: int, threads: int) -> Sheet:
    """Percentiles only where some row has samples enough for them."""
    timed = [(row, row.latency("infer", batch, threads)) for row in report.rows]
    percentiles = [
        (name, [_ms(getattr(found, f"{name}_ms")) if found else _NONE for _, found in timed]) for name in PERCENTILES
    ]
    shown = [(name, cells) for name, cells in percentiles if set(cells) != {_NONE}]
    table = grid("", "p50", "95 %", *(name for name, _ in shown), "against the reference")
    for place, (row, found) in enumerate(timed):
        table.add_row(
            styled(row.name, "cyan"),
            _ms(found.p50_ms if found else None),
            _range_ms(found),
            *(cells[place] for _, cells in shown),
            _against(report, row, batch, threads),
        )
    return table


def _cost_table(report: Report, batch: int, threads: int) -> Sheet:
    energy = ("energy an image", "above idle") if any(row.power for row in report.rows) else ()
    table = grid("", "end to end", "95 %", "decode", "images/s", "cold start", "memory", "size", *energy)
    for row in report.rows:
        whole, decode = (row.latency(stage, batch, threads) for stage in ("end_to_end", "preprocess"))
        offline = [each for each in row.scenarios if each.name == "offline"]
        table.add_row(
            styled(row.name, "cyan"),
            _ms(whole.p50_ms if whole else None),
            _range_ms(whole),
            _ms(decode.p50_ms if decode else None),
            f"{offline[-1].images_per_s:.0f}" if offline else _NONE,
            f"{row.cold_start.total_ms / 1000:.2f} s" if row.cold_start else _NONE,
            f"{row.peak_memory_mib:.0f} MiB" if row.peak_memory_mib is not None else _NONE,
            size(row.bundle_bytes) if row.bundle_bytes is not None else _NONE,
            *_energy(row)[: len(energy)],
        )
    return table


def _energy(row: Row) -> tuple[str, str]:
    return (_NONE, _NONE) if row.power is None else (f"{row.power.mj_per_image:.1f} mJ", f"{row.power.mean_w:.2f} W")


def _against(report: Report, row: Row, batch: int, threads: int) -> str:
    """How the row's time compares with the reference's; for the reference, what it shows against itself."""
    if row.name == report.reference:
        aa_noise = report.aa_noise("infer", batch, threads)
        return "reference" if aa_noise is None else f"reference (A/A noise: up to {significant(aa_noise)} x)"
    found = report.comparison(row.name, "infer", batch, threads)
    if found is None:
        return _NONE
    return found.in_words


def _parity_table(report: Report) -> Sheet:
    figure = "mAP" if any(row.multi_label for row in report.rows) else "top-1"
    table = grid("", figure, "95 %", "macro-F1", "ECE", f"Δ{figure}", "agreement", "flips", "KL", "parity")
    for row in report.rows:
        found, parity = row.evaluation, row.parity
        if found is None:
            table.add_row(styled(row.name, "cyan"), _NONE)
            continue
        ece = found.macro_ece if isinstance(found, MultiLabelEvaluation) else found.ece
        bounds, f1 = found.main_figure.interval, found.macro_f1
        cells = [_share(found.main_figure.value), f"{bounds.low:.3f}–{bounds.high:.3f}" if bounds else _NONE]
        cells += [_share(f1), _share(ece)]
        if parity is None:
            table.add_row(styled(row.name, "cyan"), *cells, *[""] * (len(table.headings) - len(cells) - 2), "reference")
            continue
        cells += [f"{parity.change_points:+.2f}", f"{parity.agreement:.1%}"]
        cells += [f"{parity.right_to_wrong} − {parity.wrong_to_right} +"]
        cells += [_NONE if parity.mean_kl is None else f"{parity.mean_kl:.1e}"]
        table.add_row(styled(row.name, "cyan"), *cells, verdict(parity.verdict))
    return table


def _share(value: float | None) -> str:
    return _NONE if value is None else f"{value:.3f}"


def _robustness(report: Report) -> Iterator[RenderableType]:
    """Top-1 or mAP on corrupted images: for each corruption the mean over its levels."""
    measured = [(row, row.robustness) for row in report.rows if row.robustness is not None]
    first = measured[0][1]
    names = tuple(dict.fromkeys(each.name for each in first.entries))
    yield styled(f"{first.figure} on {count(first.images, 'image')}, corrupted; mean of the levels", "dim")
    table = grid("", "as they are", *names, "mean", "95 %", "Δ points", "95 %", "")
    for row, found in measured:
        means = [[each.value for each in found.entries if each.name == name] for name in names]
        bounds, change = found.mean_interval, found.mean_change_interval_points
        cells = [f"{found.clean_value:.3f}", *(f"{sum(each) / len(each):.3f}" for each in means)]
        cells += [f"{found.mean_value:.3f}", f"{bounds.low:.3f}–{bounds.high:.3f}" if bounds else _NONE]
        if found.verdict is None or found.mean_change_points is None:
            table.add_row(styled(row.name, "cyan"), *cells, *[""] * (len(table.headings) - len(cells) - 2), "reference")
            continue
        cells += [f"{found.mean_change_points:+.2f}"]
        cells += [f"{change.low:+.2f}…{change.high:+.2f}" if change else _NONE]
        table.add_row(styled(row.name, "cyan"), *cells, verdict(found.verdict))
    yield table


def _gates_table(report: Report) -> Sheet:
    table = grid()
    for gate in report.gates:
        table.add_row(verdict(gate.verdict), styled(gate.line))
    return table


def _sweep_table(report: Report) -> Sheet:
    """Median milliseconds an image for each batch size and number of threads."""
    sweep = [(batch, threads) for threads in report.settings.threads for batch in report.settings.batch_sizes]
    table = grid("ms an image", *(f"batch {batch}, {count(threads, 'thread')}" for batch, threads in sweep))
    for row in report.rows:
        found = [row.latency("infer", batch, threads) for batch, threads in sweep]
        table.add_row(styled(row.name, "cyan"), *(_ms(each.p50_ms / each.batch if each else None) for each in found))
    return table


def _range_ms(found: Latency | None) -> str:
    """The interval of the median."""
    interval = None if found is None else found.p50_interval_ms
    return f"{in_ms(interval.low)}–{in_ms(interval.high)}" if interval else _NONE


def _ms(value: float | None) -> str:
    return _NONE if value is None else f"{in_ms(value)} ms"
