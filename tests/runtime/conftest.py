"""Bundles that the runtime's tests share: one of each backend for reading, and a fresh one for changing."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import tiny

from edgeclf_runtime.bundle import Bundle


@pytest.fixture(scope="session")
def shared_bundle(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Bundle]:
    """The session's one bundle of a target; tests leave it as it is."""
    folder = tmp_path_factory.mktemp("bundles")

    def bundle(target: str) -> Bundle:
        path = folder / target
        return Bundle.open(path) if (path / "manifest.json").exists() else tiny.build(path, target)

    return bundle


@pytest.fixture
def bundle(tmp_path: Path) -> Bundle:
    """A fresh bundle of the reference backend, for the test to damage."""
    return tiny.build(tmp_path / "bundle")


@pytest.fixture
def plain_user() -> Iterator[Path]:
    """A folder of a user whom file modes bind (root becomes `nobody` for the test)."""
    with tempfile.TemporaryDirectory() as folder:
        if os.geteuid() != 0:
            yield Path(folder)
            return
        os.chown(folder, 65534, 65534)
        os.seteuid(65534)
        try:
            yield Path(folder)
        finally:
            os.seteuid(0)
