"""An openvino bundle as a model in a repository for OpenVINO Model Server: the same IR, its labels, its precision.

Never run in a server by the authors. Folders and config.json as in
https://docs.openvino.ai/latest/ovms_docs_models_repository.html and .../ovms_docs_serving_model.html.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from edgeclf_export.targets.label_lines import LABELS, label_lines
from edgeclf_runtime.backends.ov import BACKEND, HINTS, MODEL, WEIGHTS
from edgeclf_runtime.bundle.atomic_write import MANIFEST, writing
from edgeclf_runtime.bundle.bundle import Bundle
from edgeclf_runtime.bundle.dataclass_json import parse_json
from edgeclf_runtime.errors import DataError, UsageError

CONFIG, VERSION = "config.json", "1"
_LIST = "model_config_list"


def check_ovms(target: str) -> None:
    """Raises UsageError for bundles that another engine was proven with: the server runs OpenVINO."""
    if target != BACKEND.name:
        raise UsageError(
            f"OpenVINO Model Server computes with OpenVINO, which a bundle for {target} was not proven with; export "
            f"-t {BACKEND.name}"
        )


def write_model(bundle: Bundle, repository: Path, *, force: bool = False) -> Path:
    """Writes the model NAME into the repository, whole or not at all, and its entry into config.json; returns NAME.

    Raises UsageError as `check_ovms`, and where NAME exists and may not be replaced; DataError for a config.json that
    is another's.
    """
    check_ovms(bundle.manifest.target)
    place = repository / bundle.name
    known = _entries(repository / CONFIG)
    with writing(place, force=force) as draft:
        (draft / VERSION).mkdir(parents=True)
        for name in (MODEL, WEIGHTS):
            (draft / VERSION / name).write_bytes(bundle.read(name))
        (draft / LABELS).write_text(label_lines(bundle.manifest.labels), encoding="utf-8")
        (draft / MANIFEST).write_bytes(bundle.manifest_bytes)
    entries = [*(each for each in known if each["config"]["name"] != bundle.name), {"config": _entry(bundle)}]
    with writing(repository / CONFIG, force=True) as draft:
        draft.write_text(json.dumps({_LIST: entries}, indent=1) + "\n", encoding="utf-8")
    return place


def _entry(bundle: Bundle) -> dict[str, Any]:
    """What it computes in is named, for OpenVINO takes bf16 silently where the CPU has it."""
    precision = HINTS[bundle.manifest.compute_precision]
    return {
        "name": bundle.name,
        "base_path": bundle.name,
        "target_device": "CPU",
        "plugin_config": {"INFERENCE_PRECISION_HINT": precision, "PERFORMANCE_HINT": "LATENCY"},
    }


def _entries(config: Path) -> list[dict[str, Any]]:
    if not config.exists():
        return []
    try:
        entries: list[dict[str, Any]] = parse_json(config.read_text(encoding="utf-8"))[_LIST]
        _ = [each["config"]["name"] for each in entries]
    except (ValueError, LookupError, TypeError) as error:
        raise DataError(f"{config}: no {_LIST} of OpenVINO Model Server ({error}); give another --output") from error
    return entries
