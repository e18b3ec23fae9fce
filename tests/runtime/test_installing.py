"""The line that installs what is missing works where edgeclf came from a checkout or a wheel, not from an index."""

from __future__ import annotations

import json
from collections.abc import Iterator
from types import SimpleNamespace

import pytest

from edgeclf_runtime import installing


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
    monkeypatch.setattr(installing, "distribution", lambda name: SimpleNamespace(read_text=lambda file: recorded))
    assert installing.pip_install("onnx") == f"pip install '{named}'"
