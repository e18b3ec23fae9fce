"""The tools that plant faults: nothing is half-written after a few of them, and what is half-written is found."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from edgeclf_benchmarks.records.faults.commands import works
from edgeclf_benchmarks.records.faults.disks import try_disks
from edgeclf_benchmarks.records.faults.inputs import prepare_images
from edgeclf_benchmarks.records.faults.kills import kill_often
from edgeclf_benchmarks.records.faults.process import Server, serving
from edgeclf_benchmarks.records.faults.races import race
from edgeclf_benchmarks.records.soak import sample, trend

pytestmark = pytest.mark.skipif(not Path("/proc/self/smaps_rollup").exists(), reason="looks into /proc of Linux")
SPLIT = next(work for work in works() if work.name == "data split")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("faults")
    prepare_images(folder)
    with serving(folder, tmp_path_factory.mktemp("logs"), warm=False) as started:
        yield started


def test_the_record_has_200_kills() -> None:
    assert sum(work.kills for work in works()) == 200


def test_after_a_kill_the_output_is_old_new_or_nothing_and_the_next_command_ends_well(server: Server) -> None:
    found = kill_often(server, SPLIT, 2, seed=0)
    assert (found.kills, found.went_on, found.faults) == (2, 2, [])
    assert set(found.states) <= {"nothing", "old", "new"}


def test_an_output_that_is_not_whole_is_found(server: Server) -> None:
    seen: list[Path] = []

    def check(path: Path) -> None:
        if seen:  # the first is the unbroken one
            raise ValueError("half a file")
        seen.append(path)

    found = kill_often(server, replace(SPLIT, check=check), 1, seed=0)
    assert found.went_on == 0 and "half a file" in found.faults[0]


def test_of_two_at_one_output_one_wins_and_the_other_ends_with_a_line(server: Server) -> None:
    found = race(server, SPLIT, 2, seed=0)
    assert (found.races, found.both + found.one, found.faults) == (2, 2, [])


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="mounts file systems, which takes root")
def test_a_full_disk_a_read_only_one_and_a_parent_that_is_a_file_are_one_line_each(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("edgeclf_benchmarks.records.faults.disks._SIZES_KB", (4,))
    monkeypatch.setattr("edgeclf_benchmarks.records.faults.disks._TEMPORARY_KB", (12,))
    found = try_disks(server, SPLIT)
    assert (found.refused, found.whole, found.faults) == (3, 1, [])  # it needs no temporary files


@pytest.mark.parametrize(
    ("slope", "noise", "verdict"), [(0.0, 0.1, "flat"), (20.0, 0.1, "grows"), (0.0, 60.0, "not decided")]
)
def test_memory_that_grows_is_told_from_noise(slope: float, noise: float, verdict: str) -> None:
    import numpy as np

    hours = np.linspace(0, 2, 720)
    values = 100 + slope * hours + noise * np.random.default_rng(0).normal(size=720)
    found = trend(list(hours), list(values), tolerance=4.0)
    assert found["verdict"] == verdict
    assert found["interval"][0] <= found["slope_per_hour"] <= found["interval"][1]


def test_a_short_soak_never_claims_that_memory_grows() -> None:
    hours = [minute / 600 for minute in range(100)]
    assert trend(hours, [100 + 50 * hour for hour in hours], tolerance=4.0)["verdict"] == "not decided"


def test_a_process_is_sampled() -> None:
    found = sample(os.getpid())
    assert found["rss_mib"] >= found["anonymous_mib"] > 1 and found["threads"] >= 1 and found["files"] >= 3
