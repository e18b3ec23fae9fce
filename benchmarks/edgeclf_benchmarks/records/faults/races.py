"""Two processes at one output at once: one wins whole, the other reports it in a line; readers never see a mixture."""

from __future__ import annotations

import random
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

from edgeclf_benchmarks.records.faults.commands import DATA, NETWORK, OTHER_NETWORK, OUT, Work, leftovers, remove, works
from edgeclf_benchmarks.records.faults.process import Ended, Server

_NEW = f"{OUT}/net-onnx-fp32"
_REFUSED = (2, 3)  # it exists; it appeared meanwhile
_READERS = (("verify", _NEW), ("predict", _NEW, DATA), ("pack", _NEW, "-o", "packed.tar", "--force"))


@dataclass(slots=True)
class Races:
    """What came of two commands at once, race after race.

    `both`: both ended well, one after the other or by --force, the last one's output whole; `one`: one ended well, and
    the other with a line and its exit code.
    """

    races: int = 0
    both: int = 0
    one: int = 0
    faults: list[str] = field(default_factory=list)


def race(server: Server, work: Work, races: int, seed: int) -> Races:
    """Starts `work` twice, up to a tenth of its time apart; in every second race with --force."""
    chance, found, place = random.Random(f"{seed} {work.name}"), Races(), server.folder / work.output
    remove(place)
    seconds = server.must(*work.arguments).seconds
    for number in range(races):
        remove(place)
        forced = ("--force",) if work.replaces and number % 2 else ()
        first = server.start((*work.arguments, *forced))
        time.sleep(chance.uniform(0, 0.1 * seconds))
        second = server.start((*work.arguments, *forced))
        _count(found, server.folder, work, (first.wait(), second.wait()), forced=bool(forced))
    remove(place)
    print(f"{work.name}: {found}", file=sys.stderr)
    return found


def _count(found: Races, folder: Path, work: Work, ended: tuple[Ended, Ended], *, forced: bool) -> None:
    found.races += 1
    good = [each for each in ended if each.code == 0]
    try:
        if not good:
            raise ValueError(f"none ended well: {[each.last_line for each in ended]}")
        for loser in (each for each in ended if each.code):
            _check_loser(loser)
        work.check(folder / work.output)
        if left := list(leftovers(folder)):
            raise ValueError(f"left behind: {left[0].name}")
        if len(good) == 2 and not forced:
            raise ValueError("both ended well, and one of them replaced the other's output")
        found.both += len(good) == 2
        found.one += len(good) == 1
    except Exception as error:  # a fault of whatever kind is what is looked for
        found.faults.append(f"{type(error).__name__}: {error}")


def _check_loser(ended: Ended) -> None:
    errors = [line for line in ended.stderr.splitlines() if line.startswith("edgeclf: ")]
    if ended.code not in _REFUSED or len(errors) != 1 or "Traceback" in ended.stderr:
        raise ValueError(f"exit code {ended.code}: {ended.stderr[-300:]}")


def read_while_replaced(server: Server, races: int, seed: int) -> Races:
    """Readers of a bundle that `export --force` replaces meanwhile by one with other weights."""
    chance, found = random.Random(f"{seed} readers"), Races()
    work = works()[0]
    remove(server.folder / work.output)
    seconds = server.must(*work.arguments).seconds
    other = (*(OTHER_NETWORK if word == NETWORK else word for word in work.arguments), "--force")
    for number in range(races):
        writer = server.start(other if number % 2 else (*work.arguments, "--force"))
        reader = server.start(_READERS[number % len(_READERS)])
        if not number % 2:  # it begins when the other is about to publish
            reader.wait()
            time.sleep(chance.uniform(0, 0.2 * seconds))
            reader = server.start(_READERS[number % len(_READERS)])
        _count_reader(found, reader.wait(), writer.wait())
    print(f"readers: {found}", file=sys.stderr)
    return found


def _count_reader(found: Races, reader: Ended, writer: Ended) -> None:
    found.races += 1
    try:
        if writer.code:
            raise ValueError(f"the writer ended with {writer.code}: {writer.last_line}")
        if reader.code:
            _check_loser(reader)
            if "replaced" not in reader.stderr:
                raise ValueError(f"the reader took it for damaged: {reader.last_line}")
        found.both += reader.code == 0
        found.one += reader.code != 0
    except Exception as error:  # a fault of whatever kind is what is looked for
        found.faults.append(f"{type(error).__name__}: {error}")
