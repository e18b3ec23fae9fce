"""What the shell completes where no fixed set of choices does it: backbones, devices, runs and bundles.

Each runs in a process of its own while somebody waits for the Tab key, so nothing heavy is imported, and a folder
that can't be read completes to nothing. Where nothing fits, the shell completes file names.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from importlib.util import find_spec
from pathlib import Path

_RUN, _BUNDLE = "config.json", "manifest.json"


def devices(incomplete: str) -> list[str]:
    from edgeclf_runtime.session import BACKENDS

    return _beginning(incomplete, sorted({device for backend in BACKENDS.values() for device in backend.devices}))


def models(incomplete: str) -> list[str]:
    """The backbones that `edgeclf models` lists; any other of timm and torchvision is taken as well."""
    found = find_spec("edgeclf_export")
    places = list(found.submodule_search_locations or ()) if found is not None else []
    try:
        listed = json.loads(Path(places[0], "sources", "backbones.json").read_bytes())["backbones"] if places else []
    except (OSError, ValueError):
        return []
    return _beginning(incomplete, (each["name"].partition("/")[2] for each in listed))


def runs(incomplete: str) -> list[str]:
    return _beginning(incomplete, _folders_with(_RUN, "runs"))


def bundles(incomplete: str) -> list[str]:
    """Folders and packed ones, in bundles/ and here."""
    packed = (str(path) for place in ("bundles", ".") for path in sorted(Path(place).glob("*.tar")))
    return _beginning(incomplete, (*_folders_with(_BUNDLE, "bundles"), *packed))


def runs_and_bundles(incomplete: str) -> list[str]:
    return runs(incomplete) + bundles(incomplete)


def _folders_with(file: str, place: str) -> list[str]:
    return [str(path.parent) for path in sorted(Path(place).glob(f"*/{file}"))]


def _beginning(incomplete: str, names: Iterable[str]) -> list[str]:
    return [name for name in names if name.startswith(incomplete)]
