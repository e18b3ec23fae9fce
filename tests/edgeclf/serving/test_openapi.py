"""The OpenAPI document of the service lists every route, with the errors that the code can answer."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import tiny

from edgeclf.serving.app import build_app
from edgeclf.serving.limits import ServiceLimits
from edgeclf.serving.service import Service
from edgeclf_runtime.classifier import Classifier

CHECKS = "not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance"


@pytest.fixture(scope="module")
def document(root: Path) -> Any:
    return json.loads((root / "docs" / "schemas" / "serve.openapi.json").read_text())


def test_the_document_lists_the_routes_of_the_service_and_no_others(document: Any, tmp_path: Path) -> None:
    with Classifier.open(tiny.build(tmp_path / "tiny").path) as classifier:
        routes: Any = build_app(Service(classifier, "tiny", ServiceLimits())).routes
    served = {(route.path, method.lower()) for route in routes for method in route.methods - {"HEAD"}}
    assert {(path, method) for path, methods in document["paths"].items() for method in methods} == served


def test_whatever_takes_a_body_may_answer_each_error_of_a_body(document: Any) -> None:
    for methods in document["paths"].values():
        for method, operation in methods.items():
            expected = {"200", "503"} | ({"400", "408", "413", "415", "500", "504"} if method == "post" else set())
            assert expected <= set(operation["responses"]), operation["summary"]


def for_the_tiny_bundle(document: Any) -> Any:
    """The document with the one model's name, version and input, so that valid requests are tried, too."""
    narrowed = json.loads(json.dumps(document))
    for methods in narrowed["paths"].values():
        for operation in methods.values():
            for parameter in operation.get("parameters", []):
                if parameter["in"] == "path":
                    parameter["schema"]["enum"] = ["tiny" if parameter["name"] == "name" else "1"]
    asked = narrowed["components"]["schemas"]["InferRequest"]
    asked["properties"]["outputs"]["maxItems"] = 0  # the model's own output
    tensor = asked["properties"]["inputs"]["items"]
    numbers = {"type": "array", "items": {"type": "integer", "minimum": 0, "maximum": 255}}
    tensor["required"] = ["name", "datatype", "shape", "data"]
    tensor["additionalProperties"] = False
    tensor["properties"] = {
        "name": {"const": "pixels"},
        "datatype": {"const": "UINT8"},
        "shape": {"const": [1, 8, 8, 3]},
        "data": {**numbers, "minItems": 192, "maxItems": 192},
    }
    return narrowed


@pytest.mark.slow
def test_schemathesis_finds_no_answer_that_the_document_does_not_list_and_no_500(
    document: Any, bundle: Any, start: Any, tmp_path: Path
) -> None:
    """`pip install schemathesis` (MIT) by hand: no extra brings it."""
    pytest.importorskip("schemathesis")
    service = start(bundle)
    described = tmp_path / "openapi.json"
    described.write_text(json.dumps(for_the_tiny_bundle(document)))
    command = [sys.executable, "-m", "schemathesis.cli", "run", str(described)]
    command += ["--url", f"http://127.0.0.1:{service.port}", "--seed", "1", "--max-time", "60", "--max-examples", "100"]
    command += ["--phases", "coverage,fuzzing", "--checks", CHECKS]
    run = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    print(run.stdout[-1500:])
    assert run.returncode == 0, run.stdout[-4000:] + run.stderr[-1000:]
