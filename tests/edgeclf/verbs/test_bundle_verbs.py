"""`verify`, `inspect` and `pack`."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from edgeclf.inspection import describe_normalization, describe_pixels, inspect_bundle
from edgeclf_runtime.bundle.bundle import Bundle
from edgeclf_runtime.bundle.manifest import Normalization
from edgeclf_runtime.hashing import hash_file
from edgeclf_runtime.images.pixels import Pixels

Run = Callable[..., "subprocess.CompletedProcess[bytes]"]
Make = Callable[..., Path]


def _document(done: subprocess.CompletedProcess[bytes], verb: str) -> Any:
    read = json.loads(done.stdout)
    assert (read["schema"], read["verb"]) == (1, verb)
    return read


def test_verify_shows_each_check_and_keeps_the_proof(bundle: Path, edgeclf: Run) -> None:
    done = edgeclf("verify", bundle)
    assert done.returncode == 0
    for check in ("20 files unchanged", "9 of 9 images bit for bit", "cosine", "KL", "top-1", "near ties", "✓ pass"):
        assert check in done.stdout.decode()
    (proof,) = bundle.with_name("colours.proofs").iterdir()
    assert str(proof) in done.stderr.decode()


def test_verify_as_json_holds_proof_and_tolerances(bundle: Path, edgeclf: Run) -> None:
    read = _document(edgeclf("verify", bundle, "--json"), "verify")
    assert read["proof"]["verdict"] == "pass"
    assert read["proof"]["tolerances"]["relative"] == 1e-4
    assert Path(read["saved_at"]).exists()


def test_a_failed_proof_exits_1_with_its_reasons(tmp_path: Path, make_bundle: Make, edgeclf: Run) -> None:
    done = edgeclf("verify", make_bundle(tmp_path / "wrong", wrong=True))
    assert done.returncode == 1
    assert "✗ fail" in done.stdout.decode()
    (error,) = (line for line in done.stderr.decode().splitlines() if line.startswith("edgeclf:"))
    assert "engine: logits differ" in error


def test_an_inconclusive_proof_is_loud_and_strict_makes_it_1(tmp_path: Path, make_bundle: Make, edgeclf: Run) -> None:
    few = make_bundle(tmp_path / "few", images=3)
    done = edgeclf("verify", few)
    assert done.returncode == 0
    assert b"INCONCLUSIVE" in done.stderr and b"5 more are needed" in done.stderr
    assert edgeclf("verify", few, "--strict").returncode == 1


def test_verify_works_where_the_proof_cannot_be_kept(bundle: Path, edgeclf: Run) -> None:
    bundle.with_name("colours.proofs").write_text("a file where the folder would be")
    done = edgeclf("verify", bundle)
    assert done.returncode == 0
    assert b"not stored" in done.stderr
    assert _document(edgeclf("verify", bundle, "--json"), "verify")["saved_at"] is None


def test_a_flipped_byte_is_found(bundle: Path, edgeclf: Run) -> None:
    model = bundle / "model.npz"
    data = bytearray(model.read_bytes())
    data[len(data) // 2] ^= 1
    model.write_bytes(data)
    for verb in ("verify", "inspect", "pack"):
        done = edgeclf(verb, bundle)
        assert done.returncode == 3
        assert b"model.npz: changed since the export" in done.stderr
    assert not bundle.with_suffix(".tar").exists()
    files = _document(edgeclf("inspect", bundle, "--json"), "inspect")["files"]
    assert [file["path"] for file in files if not file["unchanged"]] == ["model.npz"]


def test_inspect_says_what_the_bundle_is(bundle: Path, edgeclf: Run) -> None:
    edgeclf("verify", bundle)
    done = edgeclf("inspect", bundle)
    assert done.returncode == 0
    for words in (
        "3: red, green, blue",
        "resize the shorter side to 8 (bicubic), centre crop 8x8",
        "stored fp32, computed fp32",
        "pass  beside it",
        "model.npz",
        "golden/ (19 files)",
        Bundle.open(bundle).digest,
    ):
        assert words in done.stdout.decode()


def test_inspect_as_json_holds_the_whole_manifest(bundle: Path, edgeclf: Run) -> None:
    edgeclf("verify", bundle)
    read = _document(edgeclf("inspect", bundle, "--json"), "inspect")
    assert read["manifest"]["labels"] == ["red", "green", "blue"]
    assert [proof["proof"]["verdict"] for proof in read["proofs"]] == ["pass"]
    assert read["bytes"] == sum(file["bytes"] for file in read["files"])


def test_inspect_lists_labels_inert_one_a_line(tmp_path: Path, make_bundle: Make, edgeclf: Run) -> None:
    bundle = make_bundle(tmp_path / "b", ("two\nlines", "\x1b[31m", "[red]"))
    assert edgeclf("inspect", bundle, "--labels").stdout == b"two\\nlines\n\\x1b[31m\n[red]\n"


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"schema": 1, "bundle": "00", "proof": {}}', "[" * 100_000])
def test_a_strange_proof_beside_the_bundle_is_named_and_not_counted(content: str, bundle: Path) -> None:
    sidecar = bundle.with_name("colours.proofs")
    sidecar.mkdir()
    (sidecar / "abc.json").write_text(content)
    (found,) = inspect_bundle(Bundle.open(bundle)).proofs
    assert (found.machine, found.proof) == ("abc", None)
    assert found.problem


def test_inspect_says_why_a_proof_does_not_count(bundle: Path, edgeclf: Run) -> None:
    edgeclf("verify", bundle)
    (proof,) = bundle.with_name("colours.proofs").iterdir()
    proof.write_text(proof.read_text().replace('"cpu": "', '"cpu": "another '))
    shown = edgeclf("inspect", bundle).stdout.decode()
    assert "- pass, not counted" in shown and "changed since it was made" in shown
    assert "changed since it was made" in edgeclf("inspect", bundle, "--card").stdout.decode()
    proof.write_text(proof.read_text().replace('"pass"', '"fail"'))
    assert "✗ fail" in edgeclf("inspect", bundle).stdout.decode()


def test_pack_makes_a_file_that_inspect_and_verify_take(bundle: Path, tmp_path: Path, edgeclf: Run) -> None:
    done = edgeclf("pack", "colours")
    packed = tmp_path / "colours.tar"
    assert done.returncode == 0
    assert hash_file(packed) in done.stdout.decode()
    for command in ("scp colours.tar", "edgeclf verify colours.tar", "edgeclf predict colours.tar IMAGE"):
        assert command in done.stderr.decode()
    assert edgeclf("verify", packed).returncode == 0
    assert "packed" in edgeclf("inspect", packed).stdout.decode()


def test_pack_as_json(bundle: Path, edgeclf: Run, tmp_path: Path) -> None:
    read = _document(edgeclf("pack", bundle, "-o", "road.tar", "--json"), "pack")
    assert read["sha256"] == hash_file(tmp_path / "road.tar")
    assert read["bytes"] == (tmp_path / "road.tar").stat().st_size


def test_pack_replaces_a_file_only_with_force(bundle: Path, edgeclf: Run) -> None:
    bundle.with_suffix(".tar").write_text("mine")
    assert edgeclf("pack", bundle).returncode == 2
    assert bundle.with_suffix(".tar").read_text() == "mine"
    assert edgeclf("pack", bundle, "--force").returncode == 0


@pytest.mark.parametrize("force", [[], ["--force"]])
def test_pack_puts_the_file_into_a_folder_and_never_replaces_one(
    force: list[str], bundle: Path, tmp_path: Path, edgeclf: Run
) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out/precious").write_text("kept")
    assert edgeclf("pack", bundle, "-o", "out", *force).returncode == 0
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["colours.tar", "precious"]


def test_pack_refuses_a_place_inside_the_bundle(bundle: Path, edgeclf: Run) -> None:
    assert edgeclf("pack", bundle, "-o", bundle / "x.tar").returncode == 2
    assert edgeclf("verify", bundle).returncode == 0


def test_packing_a_packed_bundle_says_that_it_is_packed(bundle: Path, edgeclf: Run) -> None:
    edgeclf("pack", bundle)
    done = edgeclf("pack", bundle.with_suffix(".tar"))
    assert done.returncode == 2
    assert b"packed already" in done.stderr


SHORTER = Pixels("shorter", (256, 256), (224, 224), "bicubic")


@pytest.mark.parametrize(
    ("pixels", "words"),
    [
        (SHORTER, "resize the shorter side to 256 (bicubic), centre crop 224x224, transparent pixels on white"),
        (replace(SHORTER, resize="exact", resize_px=(224, 224)), "resize to exactly 224x224 (bicubic), transparent"),
        (replace(SHORTER, resize="cover"), "resize to cover 256x256 (bicubic), centre crop 224x224"),
        (
            replace(SHORTER, resize="fit", padding=(1, 2, 3)),
            "fit inside 256x256 (bicubic), pad to 224x224 with rgb(1, 2",
        ),
        (replace(SHORTER, value_range=(0.0, 4095.0)), "values 0 to 4095 become 0 to 255"),
        (None, "takes no images"),
    ],
)
def test_the_pixel_contract_in_words(pixels: Pixels | None, words: str) -> None:
    assert words in describe_pixels(pixels)


def test_normalisation_names_who_does_it() -> None:
    mean, std = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
    assert "inside the graph: mean 0.485 0.456 0.406" in describe_normalization(Normalization(mean, std))
    assert "left to the caller" in describe_normalization(Normalization(mean, std, "caller"))
    assert describe_normalization(None).startswith("none")


def test_inspect_and_the_card_say_which_proof_is_of_fast_pixels(edgeclf: Run, bundle: Path) -> None:
    assert edgeclf("verify", bundle, "--pixels", "fast").returncode == 0
    assert b", fast pixels, " in edgeclf("inspect", bundle).stdout
    assert b"golden images, fast pixels |" in edgeclf("inspect", bundle, "--card").stdout
