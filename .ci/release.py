"""What a release consists of, in dist/: wheel, sdist, what each installs (CycloneDX), and the SHA-256 of all of them.

    make release      # or: python .ci/release.py [--output dist] [--no-sbom]

The same commit gives the same wheel and sdist on every machine with the same hatchling, whatever the folder, the time,
the umask. What the bills of material list is what pip takes on the day: they differ from day to day.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parents[1]
SUMS = "SHA256SUMS"
BILLS = {"runtime": "onnx", "all": "all"}  # name of the bill -> the extra that it is of


def build(output: Path, source: Path = ROOT) -> None:
    """Wheel and sdist of `source`, the wheel made from the sdist; times in them are those of the commit."""
    environment = {**os.environ, "SOURCE_DATE_EPOCH": commit_time(source), "PYTHONDONTWRITEBYTECODE": "1"}
    command = [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(output), str(source)]
    subprocess.run(command, check=True, env=environment, stdout=sys.stderr)


def commit_time(source: Path) -> str:
    """Seconds since 1970; where there is no Git, hatchling's own: 2020-02-02."""
    command = ["git", "-C", str(source), "log", "-1", "--format=%ct"]
    found = subprocess.run(command, capture_output=True, text=True)
    return found.stdout.strip() if found.returncode == 0 else "1580601600"


def bill_of_materials(wheel: Path, extra: str, path: Path) -> None:
    """Writes all that `pip install WHEEL[extra]` brings into a fresh environment, with licences, as CycloneDX 1.6."""
    with tempfile.TemporaryDirectory(prefix="edgeclf-bill-") as folder:
        # without pip: it is no part of what is installed
        subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder], check=True)
        python = str(Path(folder, "Scripts" if os.name == "nt" else "bin", "python"))
        pip = [sys.executable, "-m", "pip", "--python", python, "install", "--quiet", "--no-compile"]
        subprocess.run([*pip, f"{wheel.resolve()}[{extra}]"], check=True)
        tool = [sys.executable, "-m", "cyclonedx_py", "environment", "--pyproject", str(ROOT / "pyproject.toml")]
        form = ["--mc-type", "library", "--sv", "1.6", "--output-reproducible", "--of", "JSON", "-o", str(path)]
        subprocess.run([*tool, *form, python], check=True)


def write_sums(folder: Path) -> None:
    """SHA256SUMS as `sha256sum --check` reads it, of all other files there."""
    files = sorted(path for path in folder.iterdir() if path.is_file() and path.name != SUMS)
    lines = [f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.name}\n" for path in files]
    (folder / SUMS).write_text("".join(lines), encoding="utf-8", newline="\n")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-o", "--output", type=Path, default=ROOT / "dist", help="a folder that is new or empty")
    parser.add_argument("--no-sbom", action="store_true", help="leave the bills of material out: needs no network")
    arguments = parser.parse_args()
    output: Path = arguments.output
    if output.exists() and any(output.iterdir()):
        parser.error(f"{output} holds files; remove them, or name another folder with --output")
    build(output)
    (wheel,) = output.glob("*.whl")
    if not arguments.no_sbom:
        for name, extra in BILLS.items():
            bill_of_materials(wheel, extra, output / f"{wheel.name.split('-py3')[0]}-{name}.cdx.json")
    write_sums(output)
    print((output / SUMS).read_text(encoding="utf-8"), end="")


if __name__ == "__main__":
    main()
