"""Options and files that can't be meant are one line, before anything is made."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from edgeclf.cli import run
from edgeclf_runtime.bundle.bundle import Bundle

Make = Callable[..., Path]
Capture = pytest.CaptureFixture[str]


@pytest.mark.parametrize(
    ("options", "code", "line"),
    [
        (["--text", "a cat", "-o", "vectors.csv"], 2, "--output wants a name that ends in .npz"),
        (["--text", "a cat", "-o", "there.npz"], 2, "there.npz exists; give --force"),
        (["-o", "new.npz"], 2, "name either images, or texts"),
        (["empty", "--text", "a cat", "-o", "new.npz"], 2, "name either images, or texts"),
        (["empty", "-o", "new.npz"], 3, "no images found in empty"),
        (["--texts", "latin.txt", "-o", "new.npz"], 3, "latin.txt: can't be read as UTF-8 text"),
        (["--texts", "nowhere.txt", "-o", "new.npz"], 3, "nowhere.txt: can't be read"),
        (["--texts", "blank.txt", "-o", "new.npz"], 3, "blank.txt: holds no text"),
    ],
)
def test_of_embed(
    options: list[str], code: int, line: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("empty").mkdir()
    Path("there.npz").write_bytes(b"kept")
    Path("latin.txt").write_bytes(b"caf\xe9")
    Path("blank.txt").write_text("\n \n")
    assert run(["embed", "bundle", *options]) == code
    assert line in capsys.readouterr().err
    assert Path("there.npz").read_bytes() == b"kept" and not Path("new.npz").exists()


@pytest.mark.parametrize(
    ("options", "line"),
    [
        (["--image", "a.png", "--labels"], "give one of --image, --card and --labels"),
        (["--snippet", "python", "--json"], "--snippet prints a program alone"),
        (["--card", "--json"], "give one of --card, --json and --labels"),
        (["-o", "card.md"], "--report and --output are for the model card; give --card, too"),
    ],
)
def test_of_inspect(options: list[str], line: str, capsys: Capture) -> None:
    assert run(["inspect", "bundle", *options]) == 2
    assert line in capsys.readouterr().err


def test_labels_and_the_steps_of_an_image_are_printed(make_bundle: Make, tmp_path: Path, capsys: Capture) -> None:
    bundle = make_bundle(tmp_path / "colours")
    assert run(["inspect", str(bundle), "--labels"]) == 0
    assert capsys.readouterr().out.splitlines() == list(Bundle.open(bundle).manifest.labels)
    image = next((bundle / "golden").glob("*.png"))
    assert run(["inspect", str(bundle), "--image", str(image)]) == 0
    printed = capsys.readouterr()
    assert "shape" in printed.out and "edgeclf predict" in printed.err
    (tmp_path / "bad.png").write_bytes(b"no image")
    assert run(["inspect", str(bundle), "--image", str(tmp_path / "bad.png")]) == 3
    assert "bad.png: not an image" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "line"),
    [
        ([], "give DATA (or --unlabelled and a --teacher)"),
        (["photos", "--resume", "runs/r"], "give DATA"),
        (["photos"], "name a backbone with --model"),
        (["photos", "--weights", "clip:openai"], "name the CLIP model with --model"),
        (["photos", "-m", "resnet18", "--name", "a/b"], "can't name a run"),
        (["photos", "-m", "resnet18", "--strategy", "full,two-phase"], "are several strategies; choose one"),
        (["photos", "-m", "resnet18", "--strategy", "hog-svm"], "trains no network; make it with `edgeclf baseline`"),
        (["photos", "-m", "resnet18", "--evaluate-on", "test"], "--evaluate-on is for --fraction and --compare"),
        (["photos", "-m", "resnet18", "--compare", "--fraction", "0.1"], "--compare is for one whole training"),
        (["--finish", "runs/r", "--compare"], "--compare is for one whole training; leave out --finish"),
    ],
)
def test_of_train(
    options: list[str], line: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    monkeypatch.chdir(tmp_path)
    assert run(["train", *options]) == 2
    assert line in capsys.readouterr().err
    assert not Path("runs").exists()


@pytest.mark.parametrize(
    "words",
    [
        ["export", "run", "--precision", "int8", "--learn-int8", "inf"],
        ["search", "photos", "--max-ms", "inf"],
        ["train", "photos", "-m", "resnet18", "--rotate", "-inf"],
        ["serve", "bundle", "--max-megapixels", "inf"],
    ],
)
def test_an_infinite_number_is_wrong_usage(words: list[str], capsys: Capture) -> None:
    assert run(words) == 2
    assert f"Invalid value for '{words[-2]}': {words[-1]} is not a finite number" in capsys.readouterr().err


def test_a_link_that_leads_back_to_itself_is_no_bug(tmp_path: Path, capsys: Capture) -> None:
    loop = tmp_path / "loop"
    try:
        loop.symlink_to(loop)
    except OSError:
        pytest.skip("no symbolic links here")
    assert run(["search", str(loop)]) in (2, 3)  # Python 3.13 takes it for a path that is not there
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1 and str(loop) in lines[0]
