"""`pack --sign`, and `verify` and `build --key`: what is written, what is refused, and that nothing runs before."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from signing_keys import write_keys

from edgeclf.cli import run
from edgeclf_runtime.bundle.atomic_write import seal
from edgeclf_runtime.bundle.manifest import parse_manifest
from edgeclf_runtime.installing import pip_install

pytest.importorskip("cryptography")
Run = Callable[..., "subprocess.CompletedProcess[bytes]"]
Capture = pytest.CaptureFixture[str]


@pytest.fixture
def keys(tmp_path: Path) -> tuple[str, str]:
    public, secret = write_keys(tmp_path, 1)
    return str(public), str(secret)


def change(bundle: Path) -> None:
    """Another manifest, with all hashes right."""
    place = bundle / "manifest.json"
    seal(bundle, parse_manifest(place.read_bytes(), str(place)))
    content = json.loads(place.read_text())
    content["labels"].reverse()
    del content["manifest_sha256"]
    place.write_text(json.dumps(content))


def test_a_signed_bundle_is_accepted_as_tar_and_as_folder(
    bundle: Path, tmp_path: Path, keys: tuple[str, str], edgeclf: Run
) -> None:
    packed = edgeclf("pack", bundle, "--sign", keys[1])
    assert packed.returncode == 0, packed.stderr
    signature = tmp_path / "colours.minisig"
    for words in (str(signature), "scp", "edgeclf verify colours.tar --key PUB"):
        assert words in packed.stderr.decode()
    for path in (tmp_path / "colours.tar", bundle):
        done = edgeclf("verify", path, "--key", keys[0], "--json")
        assert done.returncode == 0, done.stderr
        assert b"signed with the key 101010101010101" in done.stderr
        found = json.loads(done.stdout)["signature"]
        assert (found["path"], found["key_id"]) == (str(signature), "101010101010101")


def test_json_carries_the_signature_or_that_there_is_none(bundle: Path, keys: tuple[str, str], capsys: Capture) -> None:
    assert run(["pack", str(bundle), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["signature"] is None
    assert run(["pack", str(bundle), "--json", "--force", "--sign", keys[1]]) == 0
    found = json.loads(capsys.readouterr().out)["signature"]
    assert found == {"path": str(bundle.with_name("colours.minisig")), "key_id": "101010101010101"}
    assert run(["verify", str(bundle), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["signature"] is None


@pytest.mark.parametrize("verb", ["verify", "build"])
def test_what_has_no_right_signature_is_refused_before_an_engine_sees_it(
    verb: str,
    bundle: Path,
    tmp_path: Path,
    keys: tuple[str, str],
    capsys: Capture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def opened(*arguments: object) -> None:
        raise AssertionError("an engine was opened")

    monkeypatch.setattr("edgeclf_runtime.deploy.verify.open_session", opened)
    command = [verb, str(bundle), "--key", keys[0]]
    assert run(command) == 3
    assert "not signed" in capsys.readouterr().err
    assert run(["pack", str(bundle), "--sign", keys[1]]) == 0
    assert run([verb, str(bundle), "--key", str(write_keys(tmp_path, 2)[0])]) == 3
    change(bundle)
    capsys.readouterr()
    assert run(command) == 3
    (line,) = capsys.readouterr().err.splitlines()
    assert "changed after it was signed" in line
    assert not bundle.with_name("colours.proofs").exists()


def test_build_takes_what_is_signed(bundle: Path, keys: tuple[str, str]) -> None:
    assert run(["pack", str(bundle), "--sign", keys[1]]) == 0
    assert run(["build", str(bundle), "--key", keys[0]]) == 0


def test_a_signature_is_replaced_only_with_force_and_never_half_written(
    bundle: Path, tmp_path: Path, keys: tuple[str, str]
) -> None:
    signature, packed = tmp_path / "colours.minisig", tmp_path / "colours.tar"
    signature.write_text("mine")
    assert run(["pack", str(bundle), "--sign", keys[1]]) == 2
    assert signature.read_text() == "mine" and not packed.exists()
    assert run(["pack", str(bundle), "--sign", keys[1], "--force"]) == 0
    assert signature.read_text() != "mine" and packed.exists()


def test_a_missing_key_writes_nothing_and_says_how_to_make_one(bundle: Path, capsys: Capture) -> None:
    assert run(["pack", str(bundle), "--sign", "nowhere.key"]) == 3
    (line,) = capsys.readouterr().err.splitlines()
    assert "no secret key at nowhere.key" in line and "minisign -G -W" in line
    assert not bundle.with_name("colours.tar").exists()


def test_without_the_extra_its_pip_line_is_named(bundle: Path, keys: tuple[str, str], edgeclf: Run) -> None:
    blocked = "import sys; sys.modules['cryptography'] = None"
    (bundle.parent / "sitecustomize.py").write_text(blocked)
    for command in (("pack", bundle, "--sign", keys[1]), ("verify", bundle, "--key", keys[0])):
        path = os.pathsep.join(filter(None, [str(bundle.parent), os.environ.get("PYTHONPATH")]))
        done = edgeclf(*command, PYTHONPATH=path)
        assert done.returncode == 4, done.stderr
        assert pip_install("sign").encode() in done.stderr
    assert not bundle.with_name("colours.tar").exists()


def test_a_key_and_a_rebuild_do_not_go_together(bundle: Path, keys: tuple[str, str], capsys: Capture) -> None:
    assert run(["verify", str(bundle), "--key", keys[0], "--rebuild-if-stale"]) == 2
    assert "edgeclf build" in capsys.readouterr().err
