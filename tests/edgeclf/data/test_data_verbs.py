"""The verbs: exit codes, JSON, reports, and names that must stay inert."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from warm_process import run_edgeclf

from edgeclf.data.fetching import downloads
from edgeclf.data.fetching.fetched import Fetched
from edgeclf.verbs.data import app as data_verbs

MakeFolder = Callable[[dict[str, int]], Path]
Edgeclf = Callable[..., Any]
HOSTILE = ["<script>alert(1)</script>", "[red]bold[/red]", "\x1b[31mESC", "=cmd|' C'!A0", "\u202ertl", "new\nline"]


def only_line(text: str) -> str:
    """The error's line, after prose."""
    (line,) = [line for line in text.splitlines() if line.startswith("edgeclf: ")]
    return line


@pytest.fixture
def folder(make_folder: MakeFolder) -> Path:
    return make_folder({"cat": 12, "dog": 14})


@pytest.mark.parametrize("verb", ["check", "split", "stats", "fetch"])
def test_every_verb_explains_itself(verb: str, edgeclf: Edgeclf) -> None:
    shown = edgeclf("data", verb, "--help")
    assert shown.code == 0 and "Example" in shown.out and f"  edgeclf data {verb}" in shown.out


def test_the_four_verbs_are_listed(edgeclf: Edgeclf) -> None:
    assert {command.callback.__name__ for command in data_verbs.app.registered_commands if command.callback} >= {
        "check",
        "split",
        "stats",
        "fetch",
    }
    assert edgeclf("data").code == 2


def test_a_clean_set_exits_0_and_names_the_next_command(edgeclf: Edgeclf, folder: Path) -> None:
    shown = edgeclf("data", "check", folder)
    assert shown.code == 0 and "26 images in 2 classes" in shown.out
    assert "next: edgeclf data split" in shown.err


def test_a_leak_exits_1_and_its_pairs_are_listed(edgeclf: Edgeclf, make_folder: MakeFolder) -> None:
    root = make_folder({"train/cat": 10, "train/dog": 10, "test/cat": 2, "test/dog": 2})
    shutil.copy(root / "train/cat/003.png", root / "test/cat/leaked.png")
    shown = edgeclf("data", "check", root)
    assert shown.code == 1
    assert "train/cat/003.png" in shown.out and "test/cat/leaked.png" in shown.out
    assert "1 pair with the same pixels in two splits" in only_line(shown.err)
    document = json.loads(edgeclf("data", "check", root, "--json").out)
    assert document["verb"] == "data check" and document["schema"] == 1
    assert document["leaks"][0]["second"] == {"path": "test/cat/leaked.png", "label": "cat", "split": "test"}


def test_broken_files_exit_3(edgeclf: Edgeclf, folder: Path) -> None:
    (folder / "cat" / "broken.jpg").write_text("not an image")
    shown = edgeclf("data", "check", folder)
    assert shown.code == 3 and "cat/broken.jpg" in only_line(shown.err)
    assert json.loads(edgeclf("data", "check", folder, "--json").out)["unreadable"][0]["path"] == "cat/broken.jpg"


def test_look_alikes_are_drawn_side_by_side(edgeclf: Edgeclf, folder: Path, tmp_path: Path) -> None:
    with Image.open(folder / "cat" / "000.png") as image:
        image.save(folder / "cat" / "alike.jpg", quality=70)
    shown = edgeclf("data", "check", folder, "--report", tmp_path / "report")
    assert shown.code == 0 and "alike.jpg" in shown.out
    page = (tmp_path / "report" / "check.html").read_text()
    assert page.count('src="data:image/png;base64,') == 2 and "http" not in page.replace("http-equiv", "")
    with Image.open(tmp_path / "report" / "pairs.png") as sheet:
        assert sheet.width > 900
    again = edgeclf("data", "check", folder, "--report", tmp_path / "report")
    assert again.code == 2 and "--force" in only_line(again.err)
    assert edgeclf("data", "check", folder, "--report", tmp_path / "report", "--force").code == 0


def test_hostile_names_are_inert_everywhere(edgeclf: Edgeclf, make_folder: MakeFolder, tmp_path: Path) -> None:
    labels = [name.replace("/", "∕") for name in HOSTILE]
    root = make_folder({**{f"train/{label}": 4 for label in labels}, **{f"test/{label}": 2 for label in labels}})
    for label in labels:
        copied = f"{label} {os.fsdecode(bytes([0xFF]))}.png"
        shutil.copy(root / "train" / label / "001.png", root / "test" / label / copied)
        with Image.open(root / "train" / label / "002.png") as image:
            image.save(root / "test" / label / f"{label}.jpg", quality=70)
    shown = edgeclf("data", "check", root, "--report", tmp_path / "report")
    page = (tmp_path / "report" / "check.html").read_text(encoding="utf-8")
    printed = (shown.out + shown.err).replace("\n", "")
    assert shown.code == 1
    assert printed.isprintable() and "[red]bold[" in printed
    assert "<script" not in page and "&lt;script&gt;" in page and "\x1b" not in page and "\u202e" not in page
    document = json.loads(edgeclf("data", "check", root, "--json").out)
    assert len(document["leaks"]) == len(labels)
    split = edgeclf("data", "split", root, "-o", tmp_path / "split.json", "--json")
    assert split.code == 0 and set(json.loads(split.out)["counts"]["train"]) == set(labels)


def test_a_split_is_written_and_checks_out(edgeclf: Edgeclf, folder: Path, tmp_path: Path) -> None:
    shown = edgeclf("data", "split", folder, "-o", tmp_path / "split.json", "--seed", "3")
    assert shown.code == 0
    assert re.search(r"^cat +8 +2 +2$", shown.out, re.MULTILINE), shown.out
    assert f"next: edgeclf data check {tmp_path}/split.json" in shown.err
    assert edgeclf("data", "check", tmp_path / "split.json").code == 0
    assert edgeclf("data", "stats", tmp_path / "split.json").code == 0
    refused = edgeclf("data", "split", folder, "-o", tmp_path / "split.json")
    assert refused.code == 2 and "exists" in only_line(refused.err)


def test_groups_come_from_paths(edgeclf: Edgeclf, folder: Path, tmp_path: Path) -> None:
    output = tmp_path / "split.json"
    done = edgeclf("data", "split", folder, "-o", output, "--group-by", r"/(\d\d)\d\.png", "--fractions", "0.5,0.5,0")
    assert done.code == 0 and "no test images" in done.err
    items = json.loads(output.read_text())["items"]
    assert {item["group"] for item in items} == {"00", "01"}
    assert len({(item["group"], item["split"]) for item in items}) == 2


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["split", "FOLDER", "--group-by", "("], "is not a regular expression"),
        (["split", "FOLDER", "--group-by", "patient"], "finds no group in any path"),
        (["split", "FOLDER", "--fractions", "0.7"], "wants three numbers"),
        (["split", "FOLDER", "--fractions", "0.7,0.7,0.7"], "must sum to 1"),
        (["split", "split.json"], "is a split already"),
        (["check", "nowhere"], "no such file or folder"),
        (["stats", "nowhere.json"], "no such split manifest"),
        (["fetch", "no-such-set"], "no data set 'no-such-set'"),
    ],
)
def test_usage_errors_are_one_line(edgeclf: Edgeclf, folder: Path, arguments: list[str], message: str) -> None:
    shown = edgeclf("data", *(str(folder) if each == "FOLDER" else each for each in arguments))
    assert shown.code == 2 and message in only_line(shown.err)


def test_an_unknown_model_is_a_usage_error_of_one_line(folder: Path, tmp_path: Path) -> None:
    command = ["data", "stats", str(folder), "-m", "no_such_model_at_all"]
    done = run_edgeclf(command, cwd=tmp_path, env=os.environ)  # this process would import timm for it
    assert done.returncode == 2 and "no_such_model_at_all" in only_line(done.stderr.decode())


def test_imbalance_is_warned_of_when_splitting(edgeclf: Edgeclf, make_folder: MakeFolder, tmp_path: Path) -> None:
    shown = edgeclf("data", "split", make_folder({"cat": 90, "dog": 3}), "-o", tmp_path / "split.json")
    assert shown.code == 0 and "over 20:1" in shown.err


def test_stats_print_json(edgeclf: Edgeclf, folder: Path) -> None:
    document = json.loads(edgeclf("data", "stats", folder, "--json").out)
    assert document["statistics"]["images"] == 26 and document["advice"]["normalize"] in ("backbone", "data")
    assert len(document["advice"]["data"]["mean"]) == 3


def test_stats_without_splits_warn(edgeclf: Edgeclf, folder: Path) -> None:
    assert "includes the images to be tested on" in edgeclf("data", "stats", folder).err


def test_stats_leave_an_unusable_image_out_with_a_warning_and_stop_with_strict(edgeclf: Edgeclf, folder: Path) -> None:
    (folder / "cat" / "000.png").write_text("no image")
    shown = edgeclf("data", "stats", folder)
    assert shown.code == 0 and "warning: 1 of 26 images can't be used: cat/000.png (" in shown.err
    refused = edgeclf("data", "stats", folder, "--strict")
    assert refused.code == 3 and "without --strict they are left out" in only_line(refused.err)


def test_fetch_lists_what_there_is(edgeclf: Edgeclf) -> None:
    listed = edgeclf("data", "fetch")
    assert listed.code == 0 and "photo-patches" in listed.out and "flowers102" in listed.out
    assert {each["name"] for each in json.loads(edgeclf("data", "fetch", "--json").out)["sets"]} >= {
        "digits",
        "cifar10",
    }


def test_fetch_says_what_it_wrote(edgeclf: Edgeclf, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def load(folder: Path) -> Iterator[Fetched]:
        for number, label in enumerate(("cat", "dog")):
            yield Fetched(Image.effect_noise((8, 8), 90 + number), label, None, str(number), group=f"film {number}")

    monkeypatch.setitem(downloads.DOWNLOADS, "films", ("films", load))
    done = edgeclf("data", "fetch", "films", tmp_path / "films", "--json")
    assert done.code == 0 and json.loads(done.out)["images"] == 2
    assert f"next: edgeclf data check {tmp_path}/films/images.csv" in done.err
    assert edgeclf("data", "check", tmp_path / "films" / "images.csv").code == 0


@pytest.mark.parametrize("verb", ["check", "split", "stats", "fetch"])
def test_help_loads_nothing_heavy(verb: str) -> None:
    script = f"import sys; from edgeclf import cli; cli.run(['data', {verb!r}, '--help']); print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60)
    loaded = {name.partition(".")[0] for name in done.stdout.split()}
    assert "typer" in loaded and not loaded & {"torch", "torchvision", "timm", "sklearn", "skimage", "scipy", "PIL"}
