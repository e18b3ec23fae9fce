"""What a package offers by name, loaded when it is first used (PEP 562): importing the package loads nothing."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from typing import Any


def offer(package: str, places: Mapping[str, str]) -> tuple[Callable[[str], Any], Callable[[], list[str]]]:
    """`__getattr__` and `__dir__` of a package that offers names of modules (name -> module) and `__version__`."""

    def find(name: str) -> Any:
        if name == "__version__":
            return _version()
        if name not in places:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        return getattr(importlib.import_module(places[name]), name)

    def names() -> list[str]:
        return sorted([*places, "__version__"])

    return find, names


def _version() -> str:
    from importlib.metadata import PackageNotFoundError, version  # loads the whole of `email`

    try:
        return version("edgeclf")
    except PackageNotFoundError:  # a checkout on the path
        return "0+unknown"
