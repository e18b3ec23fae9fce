"""The line that installs an extra here: from the checkout or wheel that edgeclf came from, else from the index."""

from __future__ import annotations

import json
from functools import cache
from importlib.metadata import PackageNotFoundError, distribution
from urllib.parse import unquote, urlsplit


def pip_install(extra: str) -> str:
    """ "pip install 'edgeclf[onnx]'", or with the path in place of the name where pip took it from a path (PEP 610)."""
    return f"pip install '{_origin()}[{extra}]'"


@cache
def _origin() -> str:
    try:
        recorded = distribution("edgeclf").read_text("direct_url.json")
    except PackageNotFoundError:  # run from its source, without an installation
        return "edgeclf"
    place = urlsplit(json.loads(recorded)["url"]) if recorded else None
    return unquote(place.path) if place is not None and place.scheme == "file" else "edgeclf"
