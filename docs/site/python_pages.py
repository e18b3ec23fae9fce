"""A page for each package that scripts import: what its `__init__.py` offers, from the modules that define it."""

from __future__ import annotations

import importlib
import inspect

PACKAGES = ("edgeclf_runtime", "edgeclf_export", "edgeclf_benchmarks", "edgeclf")


def python_pages() -> dict[str, str]:
    """Name of the page -> its Markdown, with a directive of mkdocstrings for each name."""
    return {package: _page(package) for package in PACKAGES}


def _page(package: str) -> str:
    """Names are loaded lazily there, which mkdocstrings can't follow: the directives name their own modules."""
    module = importlib.import_module(package)
    names = [name for name in getattr(module, "__all__", dir(module)) if not name.startswith("_")]
    lines = [f"# {package}", "", inspect.cleandoc(module.__doc__ or ""), ""]
    for name in sorted(names, key=lambda name: (_kind(getattr(module, name)), name.lower())):
        defined_in = getattr(getattr(module, name), "__module__", package)
        lines += [f"::: {defined_in}.{name}", "    options:", f"      heading: {name}", f"      toc_label: {name}", ""]
    return "\n".join(lines)


def _kind(found: object) -> int:
    """Functions come first, then classes, then errors."""
    if not inspect.isclass(found):
        return 0
    return 2 if issubclass(found, BaseException) else 1
