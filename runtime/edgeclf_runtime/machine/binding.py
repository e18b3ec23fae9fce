"""Binds a proof to the machine that made it: an HMAC whose key comes from identifiers that stay on that machine.

It shows that a proof was edited, or made elsewhere. It is no secret: whoever runs code here can make a valid one.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import platform
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgeclf_runtime.machine import facts as machine

HMAC = "hmac_sha256"
BOUND_TO = "bound_to"
_PURPOSE = b"edgeclf: proofs of this machine, 1"  # machine-id(5): never use the id itself, but a keyed hash of it


@dataclass(frozen=True, slots=True)
class MachineKey:
    """The key of this machine's proofs. `source`: what it was derived from; `name` distinguishes it from other keys."""

    secret: bytes
    source: str

    @property
    def name(self) -> str:
        return hashlib.sha256(b"name of " + self.secret).hexdigest()[:16]


def machine_key() -> MachineKey:
    """From /etc/machine-id and the board's serial number; without either (a container) from hardware facts.

    The last is the same on every machine of that hardware, so a proof copied between two of them counts there.
    """
    identifiers = machine_identifiers()
    source = " and ".join(identifiers) or "hardware facts"
    content = json.dumps(identifiers or _hardware_facts(), sort_keys=True)
    return MachineKey(hmac.digest(content.encode(), _PURPOSE, "sha256"), source)


def machine_identifiers() -> dict[str, str]:
    """What distinguishes this machine from one of the same hardware; never stored."""
    found = {}
    if re.fullmatch(r"[0-9a-f]{32}", installed := _read("/etc/machine-id")):  # else "uninitialized"
        found["machine-id"] = installed
    if serial := _read("/proc/device-tree/serial-number"):
        found["serial number"] = serial
    return found


def _hardware_facts() -> dict[str, str]:
    board = machine.jetson()
    return {
        "architecture": platform.machine(),
        "cpu": machine.cpu_model(),
        "cpu_features": " ".join(machine.cpu_features()),
        "gpu": ", ".join(machine.gpus()),
        "jetson": board[0] if board else "",
        "memory_gib": machine.whole_memory_gib(),
    }


def bind(record: Mapping[str, Any]) -> dict[str, Any]:
    """`record` (JSON values), bound to this machine."""
    key = machine_key()
    bound = {**record, BOUND_TO: {"key": key.name, "source": key.source}}
    return {**bound, HMAC: _hmac(bound, key)}


def binding_problem(record: Mapping[str, Any]) -> str | None:
    """Why `record` is not bound to this machine; None: it is."""
    bound_to, found = record.get(BOUND_TO), record.get(HMAC)
    if not isinstance(bound_to, dict) or not isinstance(found, str):
        return "not bound to a machine; run `edgeclf verify` again"
    key = machine_key()
    if bound_to.get("key") != key.name:
        return "made on another machine, or before this one was set up anew; run `edgeclf verify` here"
    content = {name: value for name, value in record.items() if name != HMAC}
    if not hmac.compare_digest(found.encode(), _hmac(content, key).encode()):
        return "changed since it was made; run `edgeclf verify` again"
    return None


def _hmac(record: Mapping[str, Any], key: MachineKey) -> str:
    canonical = json.dumps(record, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return hmac.new(key.secret, canonical.encode(), "sha256").hexdigest()


def _read(path: str) -> str:
    try:
        return Path(path).read_text(encoding="utf-8", errors="replace").strip("\0\n ")
    except OSError:
        return ""
