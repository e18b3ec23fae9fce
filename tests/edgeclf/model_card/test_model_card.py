"""A model card quotes what was measured of this very bundle, says what was not, and invents nothing."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from made_reports import made_report, saved

from edgeclf.cli import run
from edgeclf.inspection import inspect_bundle
from edgeclf.model_card.evidence import read_evidence
from edgeclf.model_card.model_card import model_card
from edgeclf_benchmarks.measuring.report import Report
from edgeclf_runtime.bundle.bundle import Bundle
from edgeclf_runtime.errors import DataError
from edgeclf_runtime.metrics.robustness import Corrupted, Robustness

Make = Callable[..., Path]
EVIL = "<script>alert(1)</script>|[red]\x1b[31m"


def _bench(bundle: Path) -> Report:
    """A made report whose second row is of this bundle."""
    report = made_report({"torch": (12.0, 40), "onnx": (5.0, 30)})
    entries = tuple(Corrupted("blur", level, 0.9 - 0.2 * level, None, 5) for level in (1, 2, 3))
    robustness = Robustness(50, 0.95, None, 0.5, None, None, None, None, 1.0, None, "", entries)
    mine = replace(report.row("onnx"), digest=Bundle.open(bundle).digest, robustness=robustness)
    return replace(report, rows=(report.rows[0], mine))


def test_what_was_not_measured_says_so_and_the_owners_part_stays_open(bundle: Path) -> None:
    card = model_card(inspect_bundle(Bundle.open(bundle)), read_evidence([], ""))
    for section in ("Accuracy", "Robustness to corrupted images", "Speed", "Proofs"):
        after = card.split(f"## {section}\n\n")[1]
        assert after.startswith("Not measured: no "), section
    assert "| training time | not measured |" in card and "| training images | not measured |" in card
    for section in ("Intended use", "Out of scope", "Licence and contact", "Ethical considerations"):
        assert f"## {section}\n\n*To be filled in by the owner" in card
    assert "Classes (3): red, green, blue." in card


def test_figures_are_those_of_the_reports_and_of_this_bundle_only(bundle: Path, tmp_path: Path) -> None:
    report = _bench(bundle)
    path = saved(report, tmp_path / "bench.json")
    assert run(["inspect", str(bundle), "--card", "--report", str(path), "-o", str(tmp_path / "card.md")]) == 0
    card = (tmp_path / "card.md").read_text()
    row = report.row("onnx")
    found, interval = row.latency("infer", 1, 2), row.evaluation
    assert found is not None and interval is not None and interval.top1_interval is not None
    bounds = interval.top1_interval
    assert f"{interval.top1:.3f} \\[{bounds.low:.3f}, {bounds.high:.3f}\\]" in card
    assert f"| Quiet CPU | 2 | {found.p50_ms:.2f} ms" in card and "n too small" in card
    assert "| blur | 0.700 | 0.500 | 0.300 |" in card
    assert "| training images | 1200 |" in card
    assert "12.0" not in card  # the other row's


def test_what_eval_wrote_is_quoted_with_its_use_of_the_test_split(
    bundle: Path,
    classes: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pytest.importorskip("matplotlib")
    monkeypatch.setattr("edgeclf.evaluation.plots.draw_plots", lambda *_: [])
    assert run(["eval", str(bundle), str(classes), "--split", "all", "-o", str(tmp_path / "e")]) == 0
    capsys.readouterr()
    assert run(["inspect", str(bundle), "--card", "--report", str(tmp_path / "e" / "report.json")]) == 0
    card = capsys.readouterr().out
    assert "| colours-data, all \\(" in card and "all images of a folder without splits" in card
    assert "use no. 1 of this test split" in card and "selected" not in card  # nobody trained on these


def test_a_report_of_another_bundle_is_refused(bundle: Path, tmp_path: Path) -> None:
    path = saved(made_report({"torch": (12.0, 40)}), tmp_path / "bench.json")
    digest = Bundle.open(bundle).digest
    with pytest.raises(DataError, match="has no row of this bundle"):
        read_evidence([path], digest)
    path.write_text(json.dumps({"kind": "evaluation", "schema": 9}))
    with pytest.raises(DataError, match="schema 9"):
        read_evidence([path], digest)
    path.write_text(json.dumps({"kind": "evaluation", "schema": 1}))
    with pytest.raises(DataError, match="missing"):
        read_evidence([path], digest)


def test_names_from_outside_are_text_in_the_card(make_bundle: Make, tmp_path: Path) -> None:
    place = make_bundle(tmp_path / "b", labels=(EVIL, "green", "blue"))
    card = model_card(inspect_bundle(Bundle.open(place)), read_evidence([], ""))
    assert "<script>" not in card and "\x1b" not in card
    assert "&lt;script&gt;alert\\(1\\)&lt;/script&gt;\\|\\[red\\]\\\\x1b\\[31m" in card


@pytest.mark.parametrize(
    "options", [["--report", "r.json"], ["-o", "card.md"], ["--card", "--json"], ["--card", "--labels"]]
)
def test_options_that_do_not_go_together_are_refused(options: list[str], bundle: Path) -> None:
    assert run(["inspect", str(bundle), *options]) == 2
