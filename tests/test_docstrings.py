"""What the packages offer is documented: every parameter named, and every example comes out as it stands there."""

from __future__ import annotations

import doctest
import importlib
import inspect
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import tiny

PACKAGES = ("edgeclf_runtime", "edgeclf_export")
_FLAGS = doctest.NORMALIZE_WHITESPACE | doctest.ELLIPSIS


def offered(package: str) -> Iterator[tuple[str, Any]]:
    module = importlib.import_module(package)
    for name in getattr(module, "__all__", dir(module)):
        if not name.startswith("_"):
            yield name, getattr(module, name)


ALL = {f"{package}.{name}": found for package in PACKAGES for name, found in offered(package)}
EXAMPLES = {
    test.name: test
    for name, found in ALL.items()
    for test in doctest.DocTestFinder(exclude_empty=True).find(found, name, globs={})
    if test.examples
}


@pytest.fixture
def workplace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder with the bundles and images of the examples."""
    tiny.build(tmp_path / "bundles/scenes")
    tiny.build(tmp_path / "bundles/scenes-encoder", task="embed-image", labels=())
    (tmp_path / "photos").mkdir()
    for name, image in zip(("lake", "bark"), tiny.images(2), strict=True):
        image.save(tmp_path / "photos" / f"{name}.jpg", quality=95)
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=pytest.mark.slow) if "from torch" in EXAMPLES[name].docstring else name
        for name in EXAMPLES
    ],
)
def test_an_example_gives_what_stands_below_it(name: str, workplace: None) -> None:
    if "from torch" in EXAMPLES[name].docstring:
        pytest.importorskip("torch")
    report: list[str] = []
    doctest.DocTestRunner(optionflags=_FLAGS).run(EXAMPLES[name], out=report.append)
    assert not report, "".join(report)


@pytest.mark.parametrize("name", ALL)
def test_every_public_name_has_a_docstring_that_names_its_parameters(name: str) -> None:
    found = ALL[name]
    assert found.__doc__ and not found.__doc__.startswith(f"{found.__name__}("), name
    for method, function in [("", found), *inspect.getmembers(found, inspect.isroutine)]:
        if inspect.isclass(function) or method.startswith("_") or not inspect.getmodule(function):
            continue
        text = inspect.getdoc(function) or ""
        assert text, f"{name}.{method}"
        parameters = set(inspect.signature(function).parameters) - {"self"}
        if "Parameters\n---" in text:
            listed = re.search(r"Parameters\n-+\n(.*?)(\n\n\w+\n---|\Z)", text, re.DOTALL)
            assert listed is not None
            named = {each.strip() for line in re.findall(r"^\S.*$", listed[1], re.M) for each in line.split(",")}
            assert named <= parameters, f"{name}.{method} has no {named - parameters}"
