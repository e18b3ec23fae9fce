"""The line that installs what is missing works where edgeclf came from a checkout or a wheel, not from an index."""

from __future__ import annotations

import json
from collections.abc import Iterator
from types import SimpleNamespace

import pytest

from edgeclf_runtime import installing
from edgeclf_runtime.backends.engine import missing_engine


@pytest.fixture(autouse=True)
def read_anew() -> Iterator[None]:
    installing._origin.cache_clear()
    yield
    installing._origin.cache_clear()


@pytest.mark.parametrize(
    ("url", "named"),
    [
        ("file:///home/me/edgeclf", "/home/me/edgeclf[onnx]"),
        ("file:///tmp/a%20b/edgeclf-0.1.0-py3-none-any.whl", "/tmp/a b/edgeclf-0.1.0-py3-none-any.whl[onnx]"),
        ("https://example.org/edgeclf.whl", "edgeclf[onnx]"),
        (None, "edgeclf[onnx]"),
    ],
)
def test_the_line_names_the_place_that_edgeclf_came_from(
    url: str | None, named: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    recorded = None if url is None else json.dumps({"url": url})
    found = SimpleNamespace(read_text=lambda file: recorded)
    monkeypatch.setattr("importlib.metadata.distribution", lambda name: found)
    assert installing.pip_install("onnx") == f"pip install '{named}'"


@pytest.mark.parametrize(
    ("extra", "system", "machine", "python", "without"),
    [
        ("litert", "Linux", "aarch64", (3, 14), False),
        ("litert", "Linux", "armv7l", (3, 11), True),
        ("litert", "Linux", "x86_64", (3, 15), True),
        ("litert-export", "Linux", "aarch64", (3, 11), True),
        ("onnx", "Plan9", "mips", (3, 15), False),
    ],
)
def test_a_machine_without_a_wheel_is_told_so_beside_the_line(
    extra: str, system: str, machine: str, python: tuple[int, int], without: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(installing.platform, "system", lambda: system)
    monkeypatch.setattr(installing.platform, "machine", lambda: machine)
    monkeypatch.setattr(installing.sys, "version_info", (*python, 0))
    named = f"no wheel for Python {python[0]}.{python[1]} on {system} {machine}, only for 3.10 to 3.14 on Linux x86_64"
    said = str(missing_engine("the_engine", extra, ImportError("gone")))
    assert (named in said) == without
    assert f"[{extra}]'" in said
