"""A virtual environment for each peer, made by pip: none of them is a dependency, and none sees another's packages."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

from edgeclf_benchmarks.records.bare_environment import installer

REQUIREMENTS: dict[str, tuple[str, ...]] = {
    "by_hand": ("openvino", "onnxruntime", "simplejpeg", "cykooz-resizer", "opencv-python-headless", "pillow"),
    "model_api": ("openvino-model-api",),
    "ultralytics": ("ultralytics-opencv-headless", "openvino"),
    "optimum_openvino": ("optimum-intel", "transformers", "torch", "timm", "pillow"),  # transformers alone, too
    "optimum_onnx": ("optimum-onnx[onnxruntime]", "transformers", "torch", "pillow"),
}
_SAME_AS_HERE = ("numpy", "pillow", "openvino", "onnxruntime", "torch", "torchvision", "timm", "cykooz-resizer")


def make_environments(folder: Path) -> tuple[dict[str, Path], dict[str, str]]:
    """(environment -> its Python, environment -> why there is none); what lies in `folder` already is taken as it is.

    What edgeclf uses too has the same version in each of them, so that engines and decoders are the same.
    """
    folder.mkdir(parents=True, exist_ok=True)
    pins = folder / "pins.txt"
    pins.write_text("".join(f"{name}=={version(name).partition('+')[0]}\n" for name in _SAME_AS_HERE))
    found, missing = {"edgeclf": Path(sys.executable)}, {}
    for name, requirements in REQUIREMENTS.items():
        if why := _make(folder / name, requirements, pins):
            missing[name] = why
            print(f"{name}: not measured, it can't be installed: {why}", file=sys.stderr)
        else:
            found[name] = folder / name / "bin" / "python"
    return found, missing


def packages(environment: str) -> list[str]:
    """Names of the packages that were asked for, whose versions are recorded."""
    if environment == "edgeclf":
        return ["openvino", "onnxruntime", "pillow", "numpy"]
    return [requirement.partition("[")[0] for requirement in REQUIREMENTS[environment]]


def _make(folder: Path, requirements: tuple[str, ...], pins: Path) -> str | None:
    """Why it can't be made, in pip's words; None: it lies there."""
    done = folder / "requirements.json"
    if done.exists() and json.loads(done.read_bytes()) == list(requirements):
        return None
    shutil.rmtree(folder, ignore_errors=True)
    print(f"{folder}: installing {' '.join(requirements)}", file=sys.stderr)
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder], check=True)
    command = [*installer(folder / "bin" / "python"), "--no-cache-dir", "-c", str(pins), *requirements]
    pip = subprocess.run(command, capture_output=True, text=True)
    if pip.returncode:
        shutil.rmtree(folder, ignore_errors=True)
        return next((line for line in reversed(pip.stderr.splitlines()) if line.startswith("ERROR")), "pip failed")
    done.write_text(json.dumps(requirements))
    return None
