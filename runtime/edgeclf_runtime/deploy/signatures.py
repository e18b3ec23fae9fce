"""Signatures of bundles, in minisign's format: Ed25519 over the manifest, which lists the hash of every other file.

The plain tool checks the same file: `minisign -Vm manifest.json -x NAME.minisig -p KEY.pub`. The format is described at
https://jedisct1.github.io/minisign/; keys and signatures come from the package cryptography (extra "sign").
"""

from __future__ import annotations

import base64
import hashlib
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgeclf_runtime.backends.engine import missing_engine
from edgeclf_runtime.bundle.bundle import Bundle
from edgeclf_runtime.errors import BundleError, DataError

_PLAIN, _HASHED, _NO_PASSWORD = b"Ed", b"ED", b"\0\0"  # of keys; of signatures over a BLAKE2b-512 hash; of open keys
_COMMENT, _TRUSTED = b"untrusted comment: ", b"trusted comment: "
_LARGEST_FILE = 10_000


@dataclass(frozen=True, slots=True)
class PublicKey:
    """Whose signatures are right: `number` (8 bytes) names the pair of keys, `key` is Ed25519's (32 bytes)."""

    number: bytes
    key: bytes

    @property
    def id(self) -> str:
        return key_id(self.number)


@dataclass(frozen=True, slots=True)
class SecretKey:
    """Makes signatures: the pair's `number` and Ed25519's seed (32 bytes)."""

    number: bytes
    seed: bytes

    @property
    def id(self) -> str:
        return key_id(self.number)


@dataclass(frozen=True, slots=True)
class Signature:
    """A signature that was right: where it lies, the id of its key, and the comment that it covers."""

    path: str
    key_id: str
    comment: str


def signature_path(bundle: Path) -> Path:
    """NAME.minisig beside the folder NAME or the packed file NAME.tar: one serves both."""
    name = bundle.stem if bundle.suffix == ".tar" else bundle.resolve().name
    return bundle.resolve().parent / f"{name}.minisig"


def sign(bundle: Bundle, key: SecretKey) -> bytes:
    """The content of a signature file for `bundle`."""
    signer = _ed25519().Ed25519PrivateKey.from_private_bytes(key.seed)
    signature = signer.sign(_hash(bundle.manifest_bytes))
    comment = f"timestamp:{int(time.time())}\tfile:manifest.json\thashed\tbundle:{bundle.digest}".encode()
    lines = (
        _COMMENT + f"signature of an edgeclf bundle, key {key.id}".encode(),
        base64.b64encode(_HASHED + key.number + signature),
        _TRUSTED + comment,
        base64.b64encode(signer.sign(signature + comment)),
    )
    return b"\n".join(lines) + b"\n"


def check_signature(bundle: Bundle, key: PublicKey) -> Signature:
    """The signature beside `bundle`, checked; no file of the bundle but its manifest is read.

    Raises BundleError where there is none, or it is damaged, of another key or of another manifest.
    """
    _ed25519()  # before anything else: without the package nothing can be checked
    path = signature_path(bundle.path)
    if not path.exists():
        raise BundleError(f"{bundle.path}: not signed, there is no {path.name} beside it; get it from its maker")
    lines = _read_lines(path, BundleError)
    if len(lines) != 4 or not lines[0].startswith(_COMMENT) or not lines[2].startswith(_TRUSTED):
        raise BundleError(f"{path}: no signature of minisign's format; copy it again")
    first, second = (_decoded(lines[i], size, path, BundleError) for i, size in ((1, 74), (3, 64)))
    kind, number, signature = first[:2], first[2:10], first[10:]
    if kind != _HASHED:
        raise BundleError(f"{path}: a signature of another kind; sign with `edgeclf pack --sign` or minisign 0.10 up")
    if number != key.number:
        raise BundleError(
            f"{path}: signed with the key {key_id(number)}, wanted {key.id}; get a bundle of the right maker"
        )
    comment = lines[2].removeprefix(_TRUSTED)
    if not _fits(key, signature, _hash(bundle.manifest_bytes)):
        raise BundleError(
            f"{path}: not the signature of {bundle.path}, which was changed after it was signed, or is another bundle; "
            "get both again from their maker"
        )
    if not _fits(key, second, signature + comment):
        raise BundleError(f"{path}: its comment was changed after it was signed; get it again from its maker")
    return Signature(str(path), key.id, comment.decode(errors="replace"))


def read_public_key(path: Path) -> PublicKey:
    """Of minisign's .pub file. Raises DataError."""
    content = _read_key(path, 42, "public")
    return PublicKey(content[2:10], content[10:])


def read_secret_key(path: Path) -> SecretKey:
    """Of minisign's secret key file without a password. Raises DataError."""
    content = _read_key(path, 158, "secret")
    if content[2:4] != _NO_PASSWORD:
        raise DataError(
            f"{path}: a key with a password, which edgeclf does not prompt for; make one without (minisign -G -W), or "
            "sign with minisign itself: minisign -Sm BUNDLE/manifest.json -x BUNDLE.minisig"
        )
    number, seed, public = content[54:62], content[62:94], content[94:126]
    own = _ed25519().Ed25519PrivateKey.from_private_bytes(seed).public_key().public_bytes_raw()
    if own != public:
        raise DataError(f"{path}: a damaged secret key, its two halves do not belong together; copy it again")
    return SecretKey(number, seed)


def _read_key(path: Path, size: int, kind: str) -> bytes:
    if not path.exists():
        raise DataError(
            f"no {kind} key at {path}; make a pair with: minisign -G -W -p edgeclf.pub -s edgeclf.key "
            "(apt install minisign, brew install minisign), and keep edgeclf.key to yourself"
        )
    lines = _read_lines(path, DataError)
    if len(lines) != 2 or not lines[0].startswith(_COMMENT):
        raise DataError(f"{path}: no {kind} key of minisign's format, which is a comment and a line in base64")
    content = _decoded(lines[1], size, path, DataError)
    if content[:2] != _PLAIN:
        raise DataError(f"{path}: no {kind} key of minisign's format (Ed25519)")
    return content


def _read_lines(path: Path, error: type[DataError]) -> list[bytes]:
    try:
        with path.open("rb") as file:
            return file.read(_LARGEST_FILE).removesuffix(b"\n").replace(b"\r\n", b"\n").split(b"\n")
    except OSError as cause:
        raise error(f"{path}: {cause.strerror or cause}") from cause


def _decoded(line: bytes, size: int, path: Path, error: type[DataError]) -> bytes:
    try:
        content = base64.b64decode(line, validate=True)
    except ValueError as cause:
        raise error(f"{path}: damaged, not base64 ({cause}); copy it again") from cause
    if len(content) != size:
        raise error(f"{path}: damaged or of another kind, {len(content)} bytes for {size}; copy it again")
    return content


def _fits(key: PublicKey, signature: bytes, content: bytes) -> bool:
    verifier = _ed25519().Ed25519PublicKey.from_public_bytes(key.key)
    from cryptography.exceptions import InvalidSignature

    try:
        verifier.verify(signature, content)
    except InvalidSignature:
        return False
    return True


def _ed25519() -> Any:
    try:
        from cryptography.hazmat.primitives.asymmetric import ed25519
    except ImportError as error:
        raise missing_engine("cryptography", "sign", error) from error
    return ed25519


def _hash(content: bytes) -> bytes:
    return hashlib.blake2b(content).digest()


def key_id(number: bytes) -> str:
    """The name of a pair of keys as minisign prints it."""
    return f"{int.from_bytes(number, 'little'):X}"
