"""CONTRIBUTING is the whole truth: its toy engine, added as it says, is exported, verified, run, timed and listed."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import tiny
from foreign import write_network

pytestmark = pytest.mark.check

BACKEND = "runtime/edgeclf_runtime/backends/toy.py"
TARGET = "export/edgeclf_export/targets/toy.py"
SCRIPT = """
import contextlib, io, json, sys
from edgeclf.cli import run
from edgeclf_benchmarks.measuring import rounds
from edgeclf_runtime.session import BACKENDS

rounds.MOST_TURNS = 1  # its figures are not looked at
found = {}
for name, *command in json.loads(sys.argv[1]):
    if name == "doctor":  # the other engines cost seconds
        for other in set(BACKENDS) - {"toy"}:
            del BACKENDS[other]
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        code = run(command)
    found[name] = code, json.loads(out.getvalue() or "null")
print(json.dumps(found))
"""


def examples(root: Path) -> dict[str, str]:
    """The files that CONTRIBUTING shows, by the path that it gives each."""
    found = re.findall(r"`([\w/]+\.py)`:\n\n```python\n(.*?)```", (root / "CONTRIBUTING.md").read_text(), re.DOTALL)
    return dict(found)


def add_to_list(file: Path, package: str, table: str, item: str) -> None:
    """Imports `toy` from the package beside its other modules, and puts the item at the end of the table."""
    text = file.read_text()
    text, imported = re.subn(rf"(from {re.escape(package)} import [\w, ]+)", r"\1, toy", text, count=1)
    text, listed = re.subn(rf"({table} = .*?),?(\s*)\)", rf"\1, toy.{item}\2)", text, count=1, flags=re.DOTALL)
    assert (imported, listed) == (1, 1)
    file.write_text(text)


@pytest.fixture
def packages(root: Path, tmp_path: Path) -> Path:
    """The runtime, the exporter and the commands with the toy in them."""
    for package in ("runtime/edgeclf_runtime", "export/edgeclf_export", "edgeclf"):
        shutil.copytree(root / package, tmp_path / package)  # with what is compiled: that takes longer than the test
    for path, text in examples(root).items():
        (tmp_path / path).write_text(text)
    session, registry = "runtime/edgeclf_runtime/session.py", "export/edgeclf_export/targets/registry.py"
    engines = tmp_path / session
    listed = '        "reference": "reference",\n'
    assert engines.read_text().count(listed) == 1
    engines.write_text(engines.read_text().replace(listed, f'{listed}        "toy": "toy",\n'))
    add_to_list(tmp_path / registry, "edgeclf_export.targets", "TARGETS", "TARGET")
    options = tmp_path / "edgeclf/verbs/shared/options.py"
    text = options.read_text()
    assert text.count('    pytorch = "pytorch"\n') == 1
    options.write_text(text.replace('    pytorch = "pytorch"\n', '    pytorch = "pytorch"\n    toy = "toy"\n'))
    return tmp_path


def run_all(packages: Path, root: Path, commands: list[tuple[str, ...]]) -> dict[str, Any]:
    path = os.pathsep.join(map(str, (packages / "runtime", packages / "export", root / "benchmarks", packages)))
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, json.dumps(commands)],
        cwd=packages,
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    assert {name: code for name, (code, _) in found.items()} == dict.fromkeys(found, 0), done.stderr
    return {name: document for name, (_, document) in found.items()}


def test_a_toy_engine_that_was_added_as_contributing_says_works_in_every_verb(packages: Path, root: Path) -> None:
    assert set(examples(root)) == {BACKEND, TARGET}
    network, bundle = write_network(packages), "bundles/net-toy-fp32"
    found = run_all(
        packages,
        root,
        [
            ("export", "export", *network, "-t", "toy", "--json"),
            ("verify", "verify", bundle, "--json"),
            ("predict", "predict", bundle, str(tiny.shipped("china.jpg")), "--json"),
            ("bench", "bench", bundle, "--quick", "--rounds", "2", "--threads", "1", "--duration", "0.1", "--json"),
            ("doctor", "doctor", "--json"),
        ],
    )
    (made,) = found["export"]["bundles"]
    assert (made["target"], made["proof"]["verdict"]) == ("toy", "pass")
    manifest = json.loads((packages / bundle / "manifest.json").read_text())
    assert manifest["inputs"][0]["shape"][0] == 1 and manifest["shares"] == {"fp32": 1.0}
    assert found["verify"]["proof"]["verdict"] == "pass" and found["verify"]["proof"]["own"]["differs"] == []
    assert found["predict"]["bundle"]["engine"]["engine"] == "onnx" and len(found["predict"]["predictions"]) == 1
    (row,) = (row for row in found["bench"]["report"]["rows"] if row["kind"] == "bundle")
    assert row["target"] == "toy" and row["cold_start"]["import_ms"] > 0
    (engine,) = found["doctor"]["backends"]
    assert (engine["name"], engine["state"], engine["devices"]) == ("toy", "usable", ["cpu"])
