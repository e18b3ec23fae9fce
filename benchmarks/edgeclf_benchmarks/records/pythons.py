"""Which tests passed on which Python: the runtime in a fresh environment of each, the workstation where it is set up.

python -m edgeclf_benchmarks.records.pythons --wheel WHEEL -o benchmarks/results/pythons.json
python -m edgeclf_benchmarks.records.pythons --wheel WHEEL --litert -o benchmarks/results/pythons.json
python -m edgeclf_benchmarks.records.pythons --workstation PYTHON -o benchmarks/results/pythons.json

Run in a checkout. What a record holds of other Pythons stays there; each entry has its own date.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from edgeclf_benchmarks.records.bare_environment import Environment
from edgeclf_benchmarks.records.interpreters import SUPPORTED, find_interpreters
from edgeclf_benchmarks.records.record import write_record
from edgeclf_runtime.machine.facts import now_utc

RUNTIME_TESTS = ("tests/runtime",)
LITERT_TESTS = ("tests/runtime", "-k", "litert")
WORKSTATION_TESTS = (
    "tests/runtime",
    "tests/export",
    "tests/benchmarks",
    "tests/edgeclf/training",
    "tests/edgeclf/verbs",
)
_EXTRA = "onnx,openvino"
_VERSIONS = (
    "import json, platform\nfrom importlib.metadata import version, PackageNotFoundError\nfound = {}\n"
    "for name in ('numpy', 'pillow', 'onnxruntime', 'openvino', 'ai-edge-litert', 'torch', 'torchvision', 'timm'):\n"
    "    try: found[name] = version(name)\n    except PackageNotFoundError: pass\n"
    "print(json.dumps([platform.python_version(), found]))"
)


def runtime_on(python: Path, wheel: Path, extra: str = _EXTRA, tests: Sequence[str] = RUNTIME_TESTS) -> dict[str, Any]:
    """The runtime's tests with today's versions of those engines, in a fresh environment of that Python."""
    with tempfile.TemporaryDirectory(prefix="edgeclf-python-") as folder:
        Environment.make(Path(folder), python, wheel, Path.cwd(), extra)
        return _tested(Path(folder, "bin", "python"), tests, Path(folder))


def workstation_on(python: Path, tests: Sequence[str]) -> dict[str, Any]:
    """`edgeclf demo`, and those tests, in an environment that holds the workstation, from the checkout."""
    with tempfile.TemporaryDirectory(prefix="edgeclf-demo-") as folder:
        demo = subprocess.run(
            [str(python), "-m", "edgeclf", "demo"], cwd=folder, env=_environment(), stdout=subprocess.DEVNULL
        )
    return {"demo_exit_code": demo.returncode, **_tested(python, tests, Path.cwd())}


def _tested(python: Path, tests: Sequence[str], folder: Path) -> dict[str, Any]:
    """What pytest counted, standing in `folder`."""
    with tempfile.TemporaryDirectory(prefix="edgeclf-tests-") as place:
        report = Path(place, "junit.xml")
        command = [str(python), "-m", "pytest", "-q", "-rfE", "-p", "no:cacheprovider", f"--junitxml={report}", *tests]
        subprocess.run(command, cwd=folder, env=_environment(), stdout=sys.stderr)
        (suite,) = ElementTree.parse(report).getroot().iter("testsuite")
    counts = {name: int(suite.attrib[name]) for name in ("tests", "failures", "errors", "skipped")}
    failed = counts["failures"] + counts["errors"]
    versions = subprocess.run([python, "-c", _VERSIONS], check=True, capture_output=True, text=True)
    exact, packages = json.loads(versions.stdout)
    return {
        "python": exact,
        "packages": packages,
        "tested": list(tests),
        "passed": counts["tests"] - failed - counts["skipped"],
        "failed": failed,
        "skipped": counts["skipped"],
        "created_utc": now_utc(),
    }


def _environment() -> dict[str, str]:
    """This process's, without what points Python elsewhere."""
    return {
        name: value for name, value in os.environ.items() if not name.startswith(("PYTEST", "PYTHON", "VIRTUAL_ENV"))
    }


def table(figures: Mapping[str, Mapping[str, Mapping[str, Any]]]) -> list[str]:
    """A line of Markdown for each supported Python: what passed, and when."""
    lines = ["| Python | runtime | with LiteRT alone | workstation |", "| --- | --- | --- | --- |"]
    for minor in SUPPORTED:
        cells = [_cell(figures.get(minor, {}).get(part)) for part in ("runtime", "litert", "workstation")]
        lines.append(f"| {minor} | {' | '.join(cells)} |")
    return lines


def _cell(found: Mapping[str, Any] | None) -> str:
    if found is None:
        return "never run"
    demo = "" if "demo_exit_code" not in found else "demo, " if found["demo_exit_code"] == 0 else "demo failed, "
    failed = f", {found['failed']} failed" if found["failed"] else ""
    return f"{found['python']}: {demo}{found['passed']:,} tests passed{failed}, {found['created_utc'][:10]}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--wheel", type=Path, help="tests the runtime of this wheel on every Python that is found")
    parser.add_argument("--litert", action="store_true", help="its tests with LiteRT alone, not those of other engines")
    parser.add_argument("--only", nargs="*", default=SUPPORTED, metavar="3.X", help="of those Pythons, these")
    parser.add_argument("--workstation", type=Path, metavar="PYTHON", help="of an environment with the workstation")
    parser.add_argument("--tests", nargs="*", default=WORKSTATION_TESTS, help="what is tested of the workstation")
    parser.add_argument("-o", "--output", type=Path, required=True)
    arguments = parser.parse_args()
    figures: dict[str, Any] = json.loads(arguments.output.read_bytes())["figures"] if arguments.output.exists() else {}
    if arguments.wheel is not None:
        part, extra, tests = (
            ("litert", "litert", LITERT_TESTS) if arguments.litert else ("runtime", _EXTRA, RUNTIME_TESTS)
        )
        for minor, python in find_interpreters().items():
            if minor in arguments.only:
                figures.setdefault(minor, {})[part] = runtime_on(python, arguments.wheel.resolve(), extra, tests)
    if arguments.workstation is not None:
        found = workstation_on(arguments.workstation.absolute(), arguments.tests)
        figures.setdefault(".".join(found["python"].split(".")[:2]), {})["workstation"] = found
    print("\n".join(table(figures)))
    write_record(arguments.output, "edgeclf_benchmarks.records.pythons", dict(sorted(figures.items())))


if __name__ == "__main__":
    main()
