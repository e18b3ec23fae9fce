"""The line that installs an extra here: from the checkout or wheel that edgeclf came from, else from the index.

And for extras whose packages have no source distribution, whether there is a wheel for this machine at all: pip's own
answer, "no matching distribution", does not say what is wrong.
"""

from __future__ import annotations

import json
import platform
import sys
from functools import cache
from urllib.parse import unquote, urlsplit

_FIRST, _LAST = (3, 10), (3, 14)  # Pythons that the wheels below are for
_WHEELS = {  # extra: its package that has wheels alone, and for which systems
    "litert": (
        "ai-edge-litert 2.3",
        (("Linux", "x86_64"), ("Linux", "aarch64"), ("Darwin", "arm64"), ("Windows", "AMD64")),
    ),
    "litert-export": ("litert-converter 0.5", (("Linux", "x86_64"), ("Darwin", "arm64"))),
}


def no_wheel(extra: str) -> str:
    """The sentence that its package has no wheel for this system and Python; "": it has one, or needs none."""
    if extra not in _WHEELS:
        return ""
    package, systems = _WHEELS[extra]
    system, machine, python = platform.system(), platform.machine(), sys.version_info[:2]
    if (system, machine) in systems and _FIRST <= python <= _LAST:
        return ""
    names = ", ".join(" ".join(each) for each in systems)
    return (
        f"{package} has no wheel for Python {python[0]}.{python[1]} on {system} {machine}, only for 3.{_FIRST[1]} to "
        f"3.{_LAST[1]} on {names}"
    )


def pip_install(extra: str) -> str:
    """ "pip install 'edgeclf[onnx]'", or with the path in place of the name where pip took it from a path (PEP 610)."""
    return f"pip install '{_origin()}[{extra}]'"


@cache
def _origin() -> str:
    from importlib.metadata import PackageNotFoundError, distribution

    try:
        recorded = distribution("edgeclf").read_text("direct_url.json")
    except PackageNotFoundError:  # run from its source, without an installation
        return "edgeclf"
    place = urlsplit(json.loads(recorded)["url"]) if recorded else None
    return unquote(place.path) if place is not None and place.scheme == "file" else "edgeclf"
