"""Bundles that the runtime's tests share: one of each backend for reading, and a fresh one for changing."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import tiny
from fake_gpu import FakeGpu

from edgeclf_runtime.bundle.bundle import Bundle
from edgeclf_runtime.deploy.build import build


@pytest.fixture(scope="session")
def shared_bundle(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Bundle]:
    """The session's one bundle of a target; tests leave it as it is."""
    folder = tmp_path_factory.mktemp("bundles")

    def bundle(target: str) -> Bundle:
        path = folder / target
        if (path / "manifest.json").exists():
            return Bundle.open(path)
        if target == "tensorrt":
            return built_for_the_fake_gpu(path)
        return tiny.build(path, target)

    return bundle


def built_for_the_fake_gpu(place: Path) -> Bundle:
    """A tiny tensorrt bundle, built at `place` from a portable one beside it."""
    with FakeGpu().installed():
        return build(tiny.build(place.with_name(f"{place.name}-portable"), "tensorrt"), destination=place).bundle


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
