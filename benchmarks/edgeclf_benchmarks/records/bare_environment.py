"""A virtual environment as a device has it: a wheel with an engine and what its tests need, without torch."""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

TEST_NEEDS = ("pytest", "onnx")  # onnx makes the graphs that the engine's tests run
_PHOTOGRAPHS = {"sklearn": "datasets/images", "skimage": "data"}  # package -> where its photographs are
_NO_PACKAGE = "raise ModuleNotFoundError('only its photographs are here', name='scipy')\n"


@dataclass(frozen=True, slots=True)
class Environment:
    """A virtual environment, with a copy of the tests beside it."""

    folder: Path

    @classmethod
    def make(
        cls, folder: Path, python: Path, wheel: Path, checkout: Path, extra: str = "onnx", pins: Sequence[str] = ()
    ) -> Environment:
        """Installs `wheel[extra]` into a new environment of `python`. Raises RuntimeError with the installer's output.

        Bytecode is left to the first import: of all that is installed, the tests need the smaller part.
        """
        made = cls(folder)
        subprocess.run([python, "-m", "venv", "--without-pip", folder], check=True)
        command = [*installer(folder / "bin" / "python"), f"{wheel}[{extra}]", *pins, *TEST_NEEDS]
        done = subprocess.run(command, capture_output=True, text=True, env=_clean())
        if done.returncode:
            raise RuntimeError(done.stdout + done.stderr)
        made._take_photographs()
        shutil.copytree(checkout / "tests", folder / "tests")
        shutil.copy(checkout / "pyproject.toml", folder)
        return made

    def run(self, program: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Runs a program of the environment from its folder, where nothing of the repository can be imported."""
        command = [str(self.folder / "bin" / program), *arguments]
        return subprocess.run(command, cwd=self.folder, env=_clean(), capture_output=True, text=True)

    def _take_photographs(self) -> None:
        """Photographs for the tests, from scikit-learn and scikit-image of this process, which are missing there."""
        (packages,) = self.folder.glob("lib/python3.*/site-packages")
        for package, images in _PHOTOGRAPHS.items():
            found = importlib.util.find_spec(package)
            if found is None or found.origin is None:
                raise RuntimeError(
                    f"{package} is not installed, and the tests need its photographs; pip install '.[dev]'"
                )
            shutil.copytree(Path(found.origin).parent / images, packages / package / images)
            (packages / package / "__init__.py").write_text(_NO_PACKAGE)


def installer(python: Path) -> list[str]:
    """The command that installs for `python`: uv where it is installed, with a tenth of pip's work, else pip.

    It is that of this process: a pip of its own in each environment would take as long as all of the packages.
    """
    if importlib.util.find_spec("uv") is not None:
        return [sys.executable, "-m", "uv", "pip", "install", "--quiet", "--python", str(python)]
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--python", str(python)]
    return [*pip, "install", "--no-compile", "--quiet"]


def _clean() -> dict[str, str]:
    """The environment of this process, without what belongs to its own Python."""
    ours = ("PYTEST", "PYTHON", "VIRTUAL_ENV")
    return {name: value for name, value in os.environ.items() if not name.startswith(ours)}
