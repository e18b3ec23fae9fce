"""A bench without what takes its time, for tests that look at everything but the figures."""

from __future__ import annotations

from functools import partial

import pytest

from edgeclf_benchmarks.measuring import bench, rounds
from edgeclf_benchmarks.measuring.cold_start import ColdStart
from edgeclf_benchmarks.measuring.machine_state import read_conditions
from edgeclf_benchmarks.measuring.reporting import builder
from edgeclf_benchmarks.measuring.timing import warm_up

_COLD_START = ColdStart(1, 1.0, 1.0, 1.0, 1.0, 4.0, ((1.0, 1.0, 1.0, 1.0),))


@pytest.fixture
def brief(monkeypatch: pytest.MonkeyPatch) -> None:
    """No long sample of the machine's state, no fresh processes, one turn a round, no warm-up."""
    make_brief(monkeypatch)


def make_brief(monkeypatch: pytest.MonkeyPatch) -> None:
    """As the fixture, for fixtures of a module."""
    for module in (bench, builder):
        monkeypatch.setattr(module, "read_conditions", partial(read_conditions, seconds=0.0))
    monkeypatch.setattr(rounds, "MOST_TURNS", 1)
    monkeypatch.setattr(rounds, "warm_up", lambda call, longest_s: warm_up(call, longest_s=0.0))
    monkeypatch.setattr(bench, "measure_cold_start", lambda bundle, options, runs: (_COLD_START, 10.0))
