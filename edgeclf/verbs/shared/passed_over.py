"""Files that a verb leaves aside: those that are no images, by their kinds, and images that can't be used."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Collection, Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from edgeclf.console import say
from edgeclf.wording import count

if TYPE_CHECKING:
    from edgeclf.data.usable import Unreadable

_LIKE_IMAGES = (  # kinds that somebody may take for images: the first to be named
    *(".heics", ".heifs", ".avci", ".avifs", ".dng", ".cr2", ".cr3", ".nef", ".arw", ".raf", ".rw2", ".orf", ".raw"),
    *(".dcm", ".psd", ".svg", ".tga", ".exr", ".hdr", ".ico", ".eps", ".pdf", ".mov", ".mp4", ".avi"),
)
_MOST_KINDS = 6


def say_passed_over(places: Iterable[str | Path], others: int, *, verbose: bool) -> None:
    """On stderr; nothing where no file was passed over."""
    if not others:
        return
    found = sorted(_other_files(places), key=_order)
    kinds = Counter(path.suffix.lower() or "without a suffix" for path in found)
    listed = ", ".join(f"{number:,} {kind}" for kind, number in list(kinds.items())[:_MOST_KINDS])
    more = len(kinds) - _MOST_KINDS
    listed += f" and {count(more, 'other kind')}" if more > 0 else ""
    advice = "" if verbose or not found else "; --verbose names them"
    say(f"{count(others, 'other file')} passed over" + (f": {listed}" if listed else "") + advice, style="dim")
    for path in found if verbose else ():
        say(f"  {path}", style="dim")


def warn_left_out(unusable: Collection[Unreadable], images: int) -> None:
    """A warning on stderr where some of so many images can't be used."""
    from edgeclf.data.usable import left_out_sentence

    if unusable:
        say(f"warning: {left_out_sentence(unusable, images)}; they are left out", style="yellow")


def _other_files(places: Iterable[str | Path]) -> Iterator[Path]:
    """Files that are no images by their names; what lies in hidden folders, and copies of other programs, not."""
    from edgeclf_runtime.images.decode import is_passed_over
    from edgeclf_runtime.images.formats import EXTENSIONS

    for place in places:
        for directory, folders, names in os.walk(place):
            folders[:] = [name for name in folders if not is_passed_over(name)]
            paths = (Path(directory, name) for name in names)
            yield from (path for path in paths if path.suffix.lower() not in EXTENSIONS)


def _order(path: Path) -> tuple[int, str, str]:
    suffix = path.suffix.lower()
    return (_LIKE_IMAGES.index(suffix) if suffix in _LIKE_IMAGES else len(_LIKE_IMAGES), suffix, str(path))
