"""The fuzzer itself: it finds no fault in a few inputs of each reader, and finds those that are planted."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest
import tiny

from edgeclf_benchmarks.records.fuzz import processes
from edgeclf_benchmarks.records.fuzz.processes import Figures, Given, run_worker

OTHERS = Path(__file__).parents[2] / "support" / "readers_to_fuzz.py"


@pytest.mark.parametrize("name", ["image", "packed bundle", "tokenizer", "summary", "infer request", "bench report"])
def test_a_few_damaged_inputs_are_read_or_refused_within_their_limits(name: str, tmp_path: Path) -> None:
    bundle = tiny.build(tmp_path / "bundle", "onnx").path
    figures = Figures()
    run_worker(name, Given(bundle, (OTHERS,)), 0, figures, tmp_path / "faults", count=150)
    assert (figures.inputs, figures.read + figures.refused, dict(figures.faults)) == (150, 150, {})
    assert figures.read and figures.refused and not (tmp_path / "faults").exists()


@pytest.mark.parametrize("ending", [signal.SIGALRM, signal.SIGSEGV])
def test_an_input_that_ends_the_process_is_kept_and_counted(
    ending: signal.Signals, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    code = (
        "import os, sys, json; a = dict(zip(sys.argv[1::2], sys.argv[2::2]));"
        "open(a['--current'], 'wb').write((3).to_bytes(8, 'big') + b'odd and what an earlier one left');"
        f"os.kill(os.getpid(), {ending.value})"
    )
    python = tmp_path / "python"
    python.write_text(f'#!/bin/sh\nshift 2\nexec python3 -c "{code}" "$@"\n')
    python.chmod(0o755)
    monkeypatch.setattr(processes.sys, "executable", str(python))
    figures = Figures()
    run_worker("image", Given(), 0, figures, tmp_path / "faults", count=1)
    assert figures.inputs == 1 and sum(figures.faults.values()) == 1
    assert [path.read_bytes() for path in (tmp_path / "faults").iterdir()] == [b"odd"]
