"""bench, compare, recommend, verify and build, called by a script: the figures of the commands, no output."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

Edgeclf = Callable[..., "subprocess.CompletedProcess[bytes]"]
SCRIPT = """
import json, sys
from edgeclf import BenchImages
from edgeclf_benchmarks import BenchOptions, Limits, bench, compare, recommend
from edgeclf_runtime import EdgeclfError, build, verify

bundle, data = sys.argv[1:]
quick = BenchOptions(profile="quick", rounds=2, threads=(1,), duration_s=0.1)
benched = bench([bundle], quick, data=BenchImages(data), output="script.json", fail_if=["top1<0.01"])
compared = compare(["script.json"], fail_if=["bundle_mb>100"], output="page")
(choice,) = recommend(["script.json"], Limits(max_mb=100))
proof, outcome = verify(bundle), build(bundle)
try:
    bench([bundle], quick, output="script.json")
except EdgeclfError as error:
    refusal = str(error)
(row,) = benched.report.rows
print(json.dumps({
    "bench": [row.name, row.digest, row.evaluation.top1, benched.report.gates[0].verdict, str(benched.written)],
    "compare": [compared.gates[0].verdict, compared.gates[0].line],
    "recommend": choice.pick,
    "verify": [proof.verdict, proof.comparison.max_relative, proof.images_sha256],
    "build": [outcome.made, outcome.proof.verdict],
    "refusal": refusal,
    "command line": [name for name in ("typer", "rich", "torch", "edgeclf.console") if name in sys.modules],
}))
"""


def test_a_script_measures_compares_and_verifies_as_the_commands_do(
    edgeclf: Edgeclf, bundle: Path, classes: Path, tmp_path: Path
) -> None:
    command = [sys.executable, "-c", SCRIPT, str(bundle), str(classes)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, timeout=120)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)  # nothing else is printed
    assert found["refusal"].startswith("script.json exists") and not found["command line"] and not done.stderr
    assert (tmp_path / "page" / "report.html").exists()

    def typed(*arguments: str | Path) -> Any:
        return json.loads(edgeclf(*arguments, "--json").stdout)

    quick = ("--quick", "--rounds", "2", "--threads", "1", "--duration", "0.1")
    report = typed("bench", bundle, *quick, "--data", classes, "--fail-if", "top1<0.01", "-o", "typed.json")["report"]
    (row,) = report["rows"]
    gate = report["gates"][0]["verdict"]
    assert found["bench"] == [row["name"], row["digest"], row["evaluation"]["top1"], gate, "script.json"]
    (compared,) = typed("compare", "typed.json", "--fail-if", "bundle_mb>100")["gates"]
    assert found["compare"] == [compared["verdict"], compared["line"]]
    assert found["recommend"] == typed("recommend", "typed.json", "--max-mb", "100")["choices"][0]["pick"]
    proof, built = typed("verify", bundle)["proof"], typed("build", bundle)
    assert found["verify"] == [proof["verdict"], proof["comparison"]["max_relative"], proof["images_sha256"]]
    assert found["build"] == [built["made"], built["proof"]["verdict"]]
