"""Signatures: the right key's is accepted, anything else is refused before an engine sees the bundle."""

from __future__ import annotations

import base64
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import tiny
from signing_keys import write_keys

from edgeclf_runtime.bundle.bundle import Bundle, pack
from edgeclf_runtime.deploy.signatures import (
    check_signature,
    read_public_key,
    read_secret_key,
    sign,
    signature_path,
)
from edgeclf_runtime.errors import BackendError, BundleError, DataError
from edgeclf_runtime.installing import pip_install

pytest.importorskip("cryptography")
MINISIGN = shutil.which("minisign")
needs_minisign = pytest.mark.skipif(MINISIGN is None, reason="minisign is not installed: apt install minisign")


@pytest.fixture
def keys(tmp_path: Path) -> tuple[Path, Path]:
    return write_keys(tmp_path, 1)


@pytest.fixture
def signed(bundle: Bundle, keys: tuple[Path, Path]) -> Bundle:
    signature_path(bundle.path).write_bytes(sign(bundle, read_secret_key(keys[1])))
    return bundle


def test_the_right_key_accepts_folder_and_tar_by_one_signature(signed: Bundle, keys: tuple[Path, Path]) -> None:
    public = read_public_key(keys[0])
    packed = Bundle.open(pack(signed, signed.path.with_name("bundle.tar")))
    for each in (signed, packed):
        found = check_signature(each, public)
        assert found.key_id == public.id == "101010101010101"
        assert f"bundle:{signed.digest}" in found.comment
        assert Path(found.path) == signed.path.with_name("bundle.minisig")


def test_the_same_bundle_elsewhere_is_accepted_wherever_one_stands(
    signed: Bundle, keys: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(signed.path)
    assert check_signature(Bundle.open("."), read_public_key(keys[0]))


def test_another_key_is_refused_even_under_the_same_number(signed: Bundle, tmp_path: Path) -> None:
    other = write_keys(tmp_path, 2)[0]
    with pytest.raises(BundleError, match="signed with the key 101010101010101, wanted 202020202020202"):
        check_signature(signed, read_public_key(other))
    content = bytearray(base64.b64decode(other.read_bytes().splitlines()[1]))
    content[2:10] = bytes([1]) * 8
    other.write_bytes(b"untrusted comment: \n" + base64.b64encode(content) + b"\n")
    with pytest.raises(BundleError, match="not the signature of"):
        check_signature(signed, read_public_key(other))


def test_a_bundle_changed_with_all_its_hashes_made_right_is_refused(signed: Bundle, keys: tuple[Path, Path]) -> None:
    changed = tiny.replace_weights(signed.path, seed=1)
    changed.check_all()
    with pytest.raises(BundleError, match="changed after it was signed"):
        check_signature(changed, read_public_key(keys[0]))


def test_the_signature_of_another_bundle_is_refused(signed: Bundle, keys: tuple[Path, Path], tmp_path: Path) -> None:
    other = tiny.build(tmp_path / "other", temperature=2.0)
    shutil.copy(signature_path(signed.path), signature_path(other.path))
    with pytest.raises(BundleError, match="is another bundle"):
        check_signature(other, read_public_key(keys[0]))


def test_an_unsigned_bundle_is_refused(bundle: Bundle, keys: tuple[Path, Path]) -> None:
    with pytest.raises(BundleError, match=r"not signed, there is no bundle\.minisig beside it"):
        check_signature(bundle, read_public_key(keys[0]))


def with_line(number: int, change: Callable[[bytes], bytes]) -> Callable[[bytes], bytes]:
    def damage(content: bytes) -> bytes:
        lines = content.split(b"\n")
        lines[number] = change(lines[number])
        return b"\n".join(lines)

    return damage


def flipped(line: bytes, place: int) -> bytes:
    content = bytearray(base64.b64decode(line))
    content[place] ^= 1
    return base64.b64encode(content)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda content: b"", "no signature of minisign's format"),
        (lambda content: b"\xff\x00" * 5000, "no signature of minisign's format"),
        (lambda content: content[:-60], "damaged"),
        (lambda content: content + b"more\n", "no signature of minisign's format"),
        (with_line(0, lambda line: b"comment"), "no signature of minisign's format"),
        (with_line(1, lambda line: b"*" + line), "damaged, not base64"),
        (with_line(1, lambda line: base64.b64encode(b"ED")), "2 bytes for 74"),
        (with_line(1, lambda line: flipped(line, 1)), "a signature of another kind"),
        (with_line(1, lambda line: flipped(line, 5)), "signed with the key"),
        (with_line(1, lambda line: flipped(line, 40)), "not the signature of"),
        (with_line(2, lambda line: line + b" and trusted"), "its comment was changed"),
        (with_line(3, lambda line: flipped(line, 40)), "its comment was changed"),
    ],
)
def test_a_damaged_signature_is_refused(
    damage: Callable[[bytes], bytes], message: str, signed: Bundle, keys: tuple[Path, Path]
) -> None:
    place = signature_path(signed.path)
    place.write_bytes(damage(place.read_bytes()))
    with pytest.raises(BundleError, match=message):
        check_signature(signed, read_public_key(keys[0]))


def test_a_missing_key_is_an_error_that_shows_how_to_make_one(tmp_path: Path) -> None:
    for read in (read_public_key, read_secret_key):
        with pytest.raises(DataError, match="minisign -G -W"):
            read(tmp_path / "none")


def test_files_that_are_no_keys_are_refused(keys: tuple[Path, Path], tmp_path: Path) -> None:
    public, secret = keys
    for read, path in ((read_public_key, secret), (read_secret_key, public), (read_public_key, tmp_path)):
        with pytest.raises(DataError):
            read(path)
    mixed = bytearray(base64.b64decode(secret.read_bytes().splitlines()[1]))
    mixed[70] ^= 1
    secret.write_bytes(b"untrusted comment: \n" + base64.b64encode(mixed) + b"\n")
    with pytest.raises(DataError, match="its two halves do not belong together"):
        read_secret_key(secret)


def test_a_key_with_a_password_is_refused_with_the_way_out(keys: tuple[Path, Path]) -> None:
    content = bytearray(base64.b64decode(keys[1].read_bytes().splitlines()[1]))
    content[2:4] = b"Sc"
    keys[1].write_bytes(b"untrusted comment: \n" + base64.b64encode(content) + b"\n")
    with pytest.raises(DataError, match=r"a key with a password.*minisign -Sm BUNDLE/manifest\.json"):
        read_secret_key(keys[1])


def test_without_the_package_the_extra_is_named(
    signed: Bundle, keys: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    public, secret = read_public_key(keys[0]), read_secret_key(keys[1])
    monkeypatch.setitem(sys.modules, "cryptography.hazmat.primitives.asymmetric", None)
    for call in (lambda: check_signature(signed, public), lambda: sign(signed, secret)):
        with pytest.raises(BackendError, match=re.escape(pip_install("sign"))):
            call()


def minisign(*arguments: str | os.PathLike[str]) -> subprocess.CompletedProcess[str]:
    assert MINISIGN is not None
    return subprocess.run([MINISIGN, *map(os.fspath, arguments)], capture_output=True, text=True, timeout=30)


@needs_minisign
def test_minisign_accepts_the_signatures_of_edgeclf(signed: Bundle, keys: tuple[Path, Path]) -> None:
    manifest, place = signed.path / "manifest.json", signature_path(signed.path)
    done = minisign("-Vm", manifest, "-x", place, "-p", keys[0])
    assert done.returncode == 0, done.stderr
    assert f"bundle:{signed.digest}" in done.stdout
    manifest.write_bytes(manifest.read_bytes() + b"\n")
    assert minisign("-Vm", manifest, "-x", place, "-p", keys[0]).returncode != 0


@needs_minisign
def test_edgeclf_accepts_the_keys_and_signatures_of_minisign(bundle: Bundle, tmp_path: Path) -> None:
    public, secret = tmp_path / "edgeclf.pub", tmp_path / "edgeclf.key"
    assert minisign("-G", "-W", "-p", public, "-s", secret).returncode == 0
    place, manifest = signature_path(bundle.path), bundle.path / "manifest.json"
    assert minisign("-S", "-s", secret, "-m", manifest, "-x", place).returncode == 0
    assert check_signature(bundle, read_public_key(public)).key_id in public.read_text()
    place.write_bytes(sign(bundle, read_secret_key(secret)))
    assert minisign("-Vm", manifest, "-x", place, "-p", public).returncode == 0
    minisign("-S", "-l", "-s", secret, "-m", manifest, "-x", place)
    with pytest.raises(BundleError, match="a signature of another kind"):
        check_signature(bundle, read_public_key(public))
