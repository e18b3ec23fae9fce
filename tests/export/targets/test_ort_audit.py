"""The audit of ONNX Runtime's products where its files can't be written."""

from __future__ import annotations

import os
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
import tiny

from edgeclf_export.targets.ort_audit import audited_work
from edgeclf_runtime.errors import BackendError

ROOT = hasattr(os, "geteuid") and os.geteuid() == 0


@pytest.fixture
def full_soon(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A folder for temporary files that takes 4 KB."""
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4k", "tmpfs", tmp_path], check=True)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    yield
    subprocess.run(["umount", "-l", tmp_path], check=True)


@pytest.mark.skipif(not ROOT, reason="mounts a file system, which takes root")
@pytest.mark.usefixtures("full_soon")
def test_a_full_folder_for_temporary_files_is_named_as_such(tmp_path_factory: pytest.TempPathFactory) -> None:
    model = (tiny.build(tmp_path_factory.mktemp("bundle") / "onnx", "onnx").path / "model.onnx").read_bytes()
    with pytest.raises(OSError, match="No space left"):
        list(audited_work(model))


def test_a_damaged_model_is_the_engine_s_to_refuse() -> None:
    with pytest.raises(BackendError, match="onnxruntime can't take this model"):
        list(audited_work(b"no model"))
