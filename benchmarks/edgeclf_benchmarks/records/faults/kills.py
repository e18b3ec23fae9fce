"""Kills a command and all its processes at a random moment, looks at what is left, and runs it again.

Half of the moments are those at which it writes: the first new hidden folder beside its output after a random moment.
"""

from __future__ import annotations

import random
import shutil
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from edgeclf_benchmarks.records.faults.commands import Work, leftovers, remove, results
from edgeclf_benchmarks.records.faults.process import Command, Ended, Server

_LOOKS_EVERY_S, _WRITES_FOR_S = 0.001, 0.02
_OLD = "what was there before"


@dataclass(slots=True)
class Kills:
    """What was found after the kills of one command.

    Attributes
    ----------
    states
        "nothing", "old", "new", or for a training "unfinished": how often that was at the output.
    while_writing
        Kills at which a hidden folder was left.
    went_on
        How often the same command, or --resume, then ended well, with the result of an unbroken run and no leftovers.
    faults
        Everything else, a sentence each.
    """

    kills: int = 0
    while_writing: int = 0
    states: dict[str, int] = field(default_factory=dict)
    went_on: int = 0
    faults: list[str] = field(default_factory=list)


def kill_often(server: Server, work: Work, kills: int, seed: int) -> Kills:
    """Runs `work` unbroken once, then kills it `kills` times at moments drawn with `seed`."""
    chance, found, place = random.Random(f"{seed} {work.name}"), Kills(), server.folder / work.output
    ended = _unbroken(server, work)
    wanted = results(place) if work.resume else None
    for number in range(kills):
        _begin(server.folder, work, place, old=work.replaces and number % 2 == 1)
        command = server.start(_command(work, place))
        moment = chance.uniform(0, 1.02 * ended.seconds)
        waits = chance.uniform(0, _WRITES_FOR_S) if number % 4 < 2 else None
        _kill_at(command, place, moment, waits)
        found.kills += 1
        try:
            _look(server.folder, work, place, found)
            _go_on(server, work, place, wanted)
            found.went_on += 1
        except Exception as error:  # a fault of whatever kind is what is looked for
            found.faults.append(f"after {moment:.2f} of {ended.seconds:.2f} s: {type(error).__name__}: {error}")
        print(f"{work.name}: {number + 1} of {kills}, {found.states}, {found.faults[-1:]}", file=sys.stderr)
    _begin(server.folder, work, place, old=False)
    return found


def _unbroken(server: Server, work: Work) -> Ended:
    """The command from beginning to end, once before it is timed: file caches are warm then."""
    place = server.folder / work.output
    if work.begun is not None:
        _make_begun(server, work)
    for _ in range(2):
        _begin(server.folder, work, place, old=False)
        ended = server.must(*_command(work, place))
    work.check(place)
    return ended


def _make_begun(server: Server, work: Work) -> None:
    """A run that was killed after its first epoch."""
    place, copy = server.folder / work.output, server.folder / str(work.begun)
    training = ("train", "data", "-m", "test_resnet", "--weights", "random", "--img-size", "32", "--epochs", "3")
    while not copy.exists():
        remove(place)
        command = server.start(
            (*training, "--batch-size", "8", "--workers", "0", "--strategy", "full", "--name", "run")
        )
        while not (place / "history.jsonl").exists() and not command.ended:
            time.sleep(_LOOKS_EVERY_S)
        command.kill()
        command.wait()
        if not (place / "model.json").exists():
            shutil.copytree(place, copy)


def _begin(folder: Path, work: Work, place: Path, *, old: bool) -> None:
    """The folder as it is before the command: nothing at the output, an old one, or a begun run."""
    for left in [place, place.with_name(f"{place.name}.proofs"), *leftovers(folder)]:
        remove(left)
    if work.begun is not None:
        shutil.copytree(folder / work.begun, place)
    elif old and place.suffix:
        place.write_text(_OLD, encoding="utf-8")
    elif old:
        place.mkdir(parents=True)
        (place / "old").write_text(_OLD, encoding="utf-8")


def _command(work: Work, place: Path) -> tuple[str, ...]:
    return (*work.arguments, "--force") if work.replaces and place.exists() else work.arguments


def _kill_at(command: Command, place: Path, moment: float, writes_for_s: float | None) -> None:
    while time.monotonic() - command.started < moment and not command.ended:
        time.sleep(_LOOKS_EVERY_S)
    if writes_for_s is not None:
        while not command.ended and not _writes(place):
            time.sleep(_LOOKS_EVERY_S)
        time.sleep(writes_for_s)
    command.kill()
    command.wait()


def _writes(place: Path) -> bool:
    """Whether a hidden folder lies beside the output, or in a run."""
    return any(True for folder in (place.parent, place) for _ in folder.glob(".*.partial-*"))


def _look(folder: Path, work: Work, place: Path, found: Kills) -> None:
    """Counts what is at the output. Raises where that is neither nothing, nor whole, nor a run that goes on."""
    found.while_writing += any(True for _ in leftovers(folder))
    state = _state(work, place)
    found.states[state] = found.states.get(state, 0) + 1
    visible = {path.name for path in place.parent.iterdir() if not path.name.startswith(".")}
    visible -= {f"{place.name}.proofs"}  # where a use of test images is counted before they are read
    if stray := visible - {place.name}:
        raise ValueError(f"beside the output lies {', '.join(sorted(stray))}")


def _state(work: Work, place: Path) -> str:
    if not place.exists():
        return "nothing"
    marker = place / "old" if place.is_dir() else place
    if marker.exists() and marker.stat().st_size == len(_OLD):
        return "old"
    if work.resume and not any((place / name).exists() for name in ("model.json", "adapted.json")):
        return "unfinished"
    work.check(place)
    return "new"


def _go_on(server: Server, work: Work, place: Path, wanted: dict[str, Any] | None) -> None:
    """The next command after the kill: it must end well, with what an unbroken run gives, and without leftovers."""
    state = _state(work, place)
    if not (work.resume and state == "new"):
        begun = any((place / name).exists() for name in ("config.json", "adapt.json"))
        ended = server.run(work.resume if work.resume and begun else _command(work, place))
        if ended.code:
            raise ValueError(f"the next command ended with {ended.code}: {ended.last_line}")
    work.check(place)
    if wanted is not None and results(place) != wanted:
        raise ValueError("the resumed training differs from the unbroken one")
    if work.resume and state == "new":
        return  # nothing ran again, so nothing was cleared away: what is hidden there holds a finished file
    if left := [str(path.relative_to(server.folder)) for path in leftovers(server.folder)]:
        raise ValueError(f"still there after the next command: {', '.join(left)}")
