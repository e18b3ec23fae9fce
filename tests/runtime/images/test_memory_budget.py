"""The sum of what is decoded at the same time stays within a budget, and nobody waits for ever."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from edgeclf_runtime.images.decode import decode
from edgeclf_runtime.images.memory_budget import MemoryBudget


def peak(budget: MemoryBudget, sizes: list[int], threads: int) -> int:
    """The most that was reserved at the same time."""
    taken, most, lock = 0, 0, threading.Lock()

    def work(size: int) -> None:
        nonlocal taken, most
        with budget.share() as reserve:
            reserve(size)
            with lock:
                taken += size
                most = max(most, taken)
            with lock:
                taken -= size

    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(work, sizes))
    return most


def test_threads_never_hold_more_than_the_budget() -> None:
    sizes = [int(size) for size in np.random.default_rng(0).integers(1, 60, 2000)]
    assert peak(MemoryBudget(100), sizes, 8) <= 100


def test_what_is_larger_than_the_budget_is_let_in_alone() -> None:
    assert peak(MemoryBudget(100), [500, 3, 700, 5, 90] * 50, 6) == 700


def test_an_error_gives_its_share_back() -> None:
    budget = MemoryBudget(100)
    for _ in range(3):
        with pytest.raises(ValueError, match="broken"), budget.share() as reserve:
            reserve(100)
            raise ValueError("broken")
    assert peak(budget, [100], 1) == 100


def test_a_second_reservation_does_not_wait_for_the_first() -> None:
    with MemoryBudget(100).share() as reserve:
        reserve(100)
        reserve(100)


def test_a_forked_process_begins_with_the_whole_budget() -> None:
    from edgeclf_runtime.images.memory_budget import BUDGET

    with BUDGET.share() as reserve:
        reserve(BUDGET.total_bytes)
        child = os.fork()
        if not child:
            signal.alarm(5)
            with BUDGET.share() as again:
                again(BUDGET.total_bytes)
            os._exit(7)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7


@pytest.mark.parametrize(
    ("cores", "memory_gb", "wanted_mb"), [(2, 64, 1000), (64, 64, 4096), (2, 2, 500), (4, 0.5, 125), (64, 8, 2000)]
)
def test_the_budget_fits_the_machine(
    monkeypatch: pytest.MonkeyPatch, cores: int, memory_gb: float, wanted_mb: int
) -> None:
    page = 4096
    memory = {"SC_PAGE_SIZE": page, "SC_PHYS_PAGES": int(memory_gb * 1e9 / page)}
    monkeypatch.setattr("os.sched_getaffinity", lambda process: set(range(cores)))
    monkeypatch.setattr("os.sysconf", memory.__getitem__)
    assert MemoryBudget().total_bytes / 1e6 == pytest.approx(wanted_mb, rel=0.01)


def test_decoding_reserves_what_its_pixels_take(tmp_path: Path) -> None:
    reserved: list[int] = []
    Image.new("RGBA", (100, 50)).save(tmp_path / "a.png")
    decode(tmp_path / "a.png", reserve=reserved.append)
    assert reserved == [12 * 100 * 50]


@pytest.mark.slow
def test_two_threads_with_images_of_63_megapixels_take_less_than_two_gigabytes(tmp_path: Path) -> None:
    image = Image.new("RGBA", (9000, 7000), (9, 9, 9, 99))
    for number in range(4):
        image.save(tmp_path / f"{number}.png", compress_level=1)
    script = """
import resource, sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from edgeclf_runtime.images.memory_budget import BUDGET
from edgeclf_runtime.images.pixels import Pixels
pixels = Pixels("shorter", (256, 256), (224, 224))
def load(path):
    with BUDGET.share() as reserve:
        return pixels.load(path, reserve=reserve)[0].mean()
with ThreadPoolExecutor(4) as pool:
    assert len(set(pool.map(load, Path(sys.argv[1]).iterdir()))) == 1
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
"""
    done = subprocess.run([sys.executable, "-c", script, tmp_path], capture_output=True, text=True, check=True)
    assert float(done.stdout) < 2000
