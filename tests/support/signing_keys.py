"""Pairs of keys for tests of signatures, in minisign's files."""

from __future__ import annotations

import base64
import hashlib
from pathlib import Path


def write_keys(folder: Path, number: int) -> tuple[Path, Path]:
    """(public, secret) key files as `minisign -G -W` makes them, the same for the same number."""
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    seed, name = hashlib.sha256(bytes([number])).digest(), bytes([number]) * 8
    public = Ed25519PrivateKey.from_private_bytes(seed).public_key().public_bytes_raw()
    open_key = b"Ed" + b"\0\0" + b"B2" + bytes(48) + name + seed + public + bytes(32)
    files = folder / f"{number}.pub", folder / f"{number}.key"
    for file, content in zip(files, (b"Ed" + name + public, open_key), strict=True):
        file.write_bytes(b"untrusted comment: a test's key\n" + base64.b64encode(content) + b"\n")
    return files
