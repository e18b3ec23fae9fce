"""`edgeclf predict`: bars, JSON, CSV, streams, watched folders, and bad images among good ones."""

from __future__ import annotations

import csv
import io
import json
import os
import signal
import struct
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from warm_process import run_edgeclf

from edgeclf_runtime.bundle.decision import Prediction
from edgeclf_runtime.bundle.manifest import Thresholds

Run = Callable[..., "subprocess.CompletedProcess[bytes]"]
Make = Callable[..., Path]
HOSTILE = ("<script>", "[red]", "\x1b[31m", "=cmd", "new\nline", os.fsdecode(b"byte\xff"))


def _document(done: subprocess.CompletedProcess[bytes]) -> Any:
    read = json.loads(done.stdout)
    assert (read["schema"], read["verb"]) == (1, "predict")
    return read


def test_each_image_gets_its_name_and_its_classes_with_bars(bundle: Path, photos: Path, edgeclf: Run) -> None:
    done = edgeclf("predict", bundle, photos)
    lines = done.stdout.decode().splitlines()
    assert done.returncode == 0
    assert [Path(line).name for line in lines[::4]] == ["blue.png", "green.png", "red.png"]
    assert [line.split()[0] for line in lines[1::4]] == ["blue", "green", "red"]
    assert all("%  █" in line for line in lines[1::4])
    assert b"1 other file passed over: 1 .txt; --verbose names them" in done.stderr and b"3 images" in done.stderr


def test_with_top_1_an_image_is_one_line(bundle: Path, photos: Path, edgeclf: Run) -> None:
    lines = edgeclf("predict", bundle, photos, "--top", "1", "-b", "2").stdout.decode().splitlines()
    assert [(line.split()[0], Path(line.split()[-1]).name) for line in lines] == [
        ("blue", "blue.png"),
        ("green", "green.png"),
        ("red", "red.png"),
    ]


def test_json_is_one_document(bundle: Path, photos: Path, edgeclf: Run) -> None:
    read = _document(edgeclf("predict", bundle, photos, "--json"))
    assert [prediction["label"] for prediction in read["predictions"]] == ["blue", "green", "red"]
    assert sum(score["probability"] for score in read["predictions"][0]["scores"]) == pytest.approx(1)
    assert (read["images"], read["errors"], read["others"], read["finished"]) == (3, 0, 1, True)
    assert read["bundle"]["target"] == "reference"


def test_a_bad_image_errs_alone(bundle: Path, photos: Path, edgeclf: Run) -> None:
    (photos / "broken.jpg").write_bytes(b"no image")
    (photos / "empty.png").touch()
    done = edgeclf("predict", bundle, photos, photos / "missing.png", "--json")
    assert done.returncode == 3
    read = _document(done)
    assert [prediction["label"] for prediction in read["predictions"]] == ["blue", None, None, "green", "red", None]
    assert (read["images"], read["errors"], read["finished"]) == (6, 3, True)
    errors = [line for line in done.stderr.decode().splitlines() if line.startswith("edgeclf:")]
    assert len(errors) == 4 and errors[-1] == "edgeclf: 3 of 6 images could not be read"


def test_images_of_a_kind_that_can_not_be_read_count_and_cost_exit_code_3(
    bundle: Path, photos: Path, edgeclf: Run
) -> None:
    (photos / "phone.jxl").write_bytes(b"\xff\x0a" + bytes(99))
    done = edgeclf("predict", bundle, photos)
    assert done.returncode == 3
    assert b"phone.jxl: JPEG XL, which Pillow can't decode; convert it to JPEG or PNG" in done.stderr
    assert b"1 of 4 images could not be read" in done.stderr


def test_copies_of_other_programs_are_not_predicted(bundle: Path, photos: Path, red: bytes, edgeclf: Run) -> None:
    for place in (".ipynb_checkpoints/a-checkpoint.png", "@eaDir/red.png/SYNOPHOTO_THUMB_XL.jpg", "__MACOSX/a.png"):
        (photos / place).parent.mkdir(parents=True)
        (photos / place).write_bytes(red)
    assert _document(edgeclf("predict", bundle, photos, "--json"))["images"] == 3


def test_warnings_of_pillow_and_libtiff_do_not_reach_the_terminal(
    bundle: Path, photos: Path, tmp_path: Path, edgeclf: Run
) -> None:
    with Image.open(photos / "red.png") as image:
        image.save(tmp_path / "whole.tif", compression="tiff_lzw")
    data = (tmp_path / "whole.tif").read_bytes()
    compression = data.index(struct.pack("<HHI", 259, 3, 1))
    odd = data[:compression] + struct.pack("<HHI", 259, 3, 3) + data[compression + 8 :]  # three, of which it has one
    for name, content in {"odd.tif": odd, "cut.tif": data[:-20], "cut_in_pixels.tif": data[:60]}.items():
        (photos / name).write_bytes(content)
    lines = edgeclf("predict", bundle, photos).stderr.decode().splitlines()
    known = ("edgeclf: ", "6 images", "1 other file", "next: ", "predicting")
    assert [line for line in lines if line.strip() and not line.startswith(known)] == []


def test_a_single_bad_image_is_one_line(bundle: Path, edgeclf: Run) -> None:
    done = edgeclf("predict", bundle, "missing.png")
    errors = [line for line in done.stderr.decode().splitlines() if line.startswith("edgeclf:")]
    assert (done.returncode, done.stdout) == (3, b"")
    assert errors == ["edgeclf: missing.png: No such file or directory"]


def test_an_empty_folder_is_an_error(bundle: Path, photos: Path, tmp_path: Path, edgeclf: Run) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    (empty / "Thumbs.db").touch()
    alone = edgeclf("predict", bundle, empty)
    assert alone.returncode == 3
    assert b"no images found in " in alone.stderr and b"(1 other file passed over)" in alone.stderr
    among = edgeclf("predict", bundle, empty, photos, "--top", "1")
    assert among.returncode == 3
    assert len(among.stdout.splitlines()) == 3


@pytest.mark.parametrize(("separator", "options"), [(b"\n", ["-"]), (b"\n", ["--stdin"]), (b"\0", ["-", "-0"])])
def test_paths_come_from_standard_input(
    separator: bytes, options: list[str], bundle: Path, photos: Path, edgeclf: Run
) -> None:
    paths = separator.join(os.fsencode(photos / f"{name}.png") for name in ("red", "blue"))
    read = _document(edgeclf("predict", bundle, *options, "--json", stdin=paths))
    assert [prediction["label"] for prediction in read["predictions"]] == ["red", "blue"]


def test_below_the_threshold_the_prediction_is_unknown(bundle: Path, photos: Path, edgeclf: Run) -> None:
    done = edgeclf("predict", bundle, photos / "red.png", "--threshold", "0.9999")
    assert done.returncode == 0
    assert b"unknown" in done.stdout


def test_the_bundles_own_threshold_counts(tmp_path: Path, photos: Path, make_bundle: Make, edgeclf: Run) -> None:
    strict = make_bundle(tmp_path / "strict", thresholds=Thresholds(0.9999))
    assert edgeclf("predict", strict, photos / "red.png", "--top", "1").stdout.startswith(b"unknown")


def test_margins_are_shown_as_numbers(tmp_path: Path, photos: Path, make_bundle: Make, edgeclf: Run) -> None:
    done = edgeclf("predict", make_bundle(tmp_path / "svm", scores="margin"), photos / "red.png")
    assert b"%" not in done.stdout and b"+" in done.stdout


@pytest.mark.parametrize("threshold", ["1.5", "-1", "nan"])
def test_a_threshold_that_is_no_probability_is_refused(
    threshold: str, bundle: Path, photos: Path, edgeclf: Run
) -> None:
    assert edgeclf("predict", bundle, photos, "--threshold", threshold).returncode == 2


def test_a_packed_bundle_predicts_the_same(bundle: Path, photos: Path, edgeclf: Run) -> None:
    edgeclf("pack", bundle)
    folder, packed = (
        _document(edgeclf("predict", place, photos, "--json")) for place in (bundle, bundle.with_suffix(".tar"))
    )
    assert folder["predictions"] == packed["predictions"]
    assert folder["bundle"]["digest"] == packed["bundle"]["digest"]


def test_limits_are_set_from_the_command_line(bundle: Path, photos: Path, edgeclf: Run) -> None:
    done = edgeclf("predict", bundle, photos / "red.png", "--max-megapixels", "0.0001")
    assert done.returncode == 3
    assert b"megapixels" in done.stderr


def test_csv_has_a_row_an_image(bundle: Path, photos: Path, tmp_path: Path, edgeclf: Run) -> None:
    (photos / "broken.jpg").write_bytes(b"no image")
    done = edgeclf("predict", bundle, photos, "--csv", "answers.csv", "--top", "2")
    rows = list(csv.DictReader((tmp_path / "answers.csv").open(encoding="utf-8", newline="")))
    assert [row["answer"] for row in rows] == ["blue", "", "green", "red"]
    assert float(rows[0]["score_1"]) > float(rows[0]["score_2"]) and rows[0]["label_1"] == "blue"
    assert "not an image" in rows[1]["error"]
    assert done.stdout.count(b"%") == 6
    assert b"wrote answers.csv" in done.stderr


def test_an_existing_csv_is_kept_without_force(bundle: Path, photos: Path, tmp_path: Path, edgeclf: Run) -> None:
    table = tmp_path / "answers.csv"
    table.write_text("mine")
    assert edgeclf("predict", bundle, photos, "--csv", table).returncode == 2
    assert table.read_text() == "mine"
    assert edgeclf("predict", bundle, photos, "--csv", table, "--force").returncode == 0
    assert table.read_text().startswith('"image"')


def test_an_interruption_keeps_the_rows_so_far_under_another_name(
    bundle: Path, photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from edgeclf import cli
    from edgeclf.verbs.shared.predicting import images as predict_images

    write = predict_images.Run.write

    def interrupted(run: predict_images.Run, prediction: Prediction) -> None:
        if run.totals.images == 2:
            raise KeyboardInterrupt
        write(run, prediction)

    monkeypatch.setattr(predict_images.Run, "write", interrupted)
    monkeypatch.chdir(tmp_path)
    assert cli.run(["predict", str(bundle), str(photos), "--csv", "answers.csv"]) == 130
    rows = list(csv.DictReader((tmp_path / "answers.interrupted.csv").open(encoding="utf-8", newline="")))
    assert [row["answer"] for row in rows] == ["blue", "green"] and not (tmp_path / "answers.csv").exists()
    assert "2 rows so far kept in answers.interrupted.csv" in capsys.readouterr().err


def test_hostile_names_are_inert_everywhere(tmp_path: Path, red: bytes, make_bundle: Make, edgeclf: Run) -> None:
    labels = ("=red()", "[bold]green\x1b[2J", "<b>blue\u202e")
    bundle = make_bundle(tmp_path / "bundle", labels)
    folder = tmp_path / "x"
    folder.mkdir()
    for name in HOSTILE:
        (folder / f"{name}.png").write_bytes(red)
        (folder / f"{name}.jpg").write_bytes(b"bad")
    text, data = edgeclf("predict", bundle, folder), edgeclf("predict", bundle, folder, "--json")
    printed = (text.stdout + text.stderr).decode()
    assert all(line.isprintable() for line in printed.splitlines())
    for shown in ("x/<script>.png", "x/[red].png", "x/\\x1b[31m.png", "x/new\\nline.png", "x/byte\\xff.png"):
        assert shown in printed
    sources = {prediction["source"] for prediction in _document(data)["predictions"]}
    assert data.stdout.isascii() and {f"{folder}/[red].png", f"{folder}/new\nline.png"} <= sources
    assert json.dumps(sorted(sources), ensure_ascii=False).encode()


def test_hostile_cells_are_inert_in_csv(tmp_path: Path, red: bytes, make_bundle: Make, edgeclf: Run) -> None:
    bundle = make_bundle(tmp_path / "bundle", ("=red()", "@green", "blue"))
    for name in HOSTILE:
        (tmp_path / f"{name}.png").write_bytes(red)
    names = [f"{name}.png" for name in HOSTILE]
    done = edgeclf("predict", bundle, "--csv", "-", *names)
    assert all(line.isprintable() for line in done.stdout.decode().splitlines())
    rows = list(csv.DictReader(io.StringIO(done.stdout.decode())))
    assert [row["image"] for row in rows] == [
        "<script>.png",
        "[red].png",
        "\\x1b[31m.png",
        "'=cmd.png",
        "new\\nline.png",
        "byte\\xff.png",
    ]
    assert {row["answer"] for row in rows} == {"'=red()"}


def test_an_interrupted_document_is_valid_and_says_so(bundle: Path, photos: Path, tmp_path: Path) -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "edgeclf", "predict", str(bundle), "-", "--json"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        cwd=tmp_path,
    )
    assert process.stdin is not None and process.stdout is not None
    process.stdin.write(os.fsencode(photos / "red.png") + b"\n")
    process.stdin.flush()
    begun = b""
    while b'"notes"' not in begun:
        begun += os.read(process.stdout.fileno(), 1 << 16)
    process.send_signal(signal.SIGINT)
    rest, _ = process.communicate(timeout=60)
    assert process.returncode == 130
    read = json.loads(begun + rest)
    assert (len(read["predictions"]), read["finished"]) == (1, False)


def test_new_images_of_a_watched_folder_are_predicted(bundle: Path, photos: Path, tmp_path: Path, red: bytes) -> None:
    command = [sys.executable, "-m", "edgeclf", "predict", str(bundle), str(photos)]
    process = subprocess.Popen(
        [*command, "--watch", "--interval", "0.05", "--json", "--csv", "log.csv"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        cwd=tmp_path,
    )
    assert process.stdout is not None
    try:
        present = [json.loads(process.stdout.readline()) for _ in range(3)]
        (photos / "draft").write_bytes(red)
        (photos / "draft").rename(photos / "new.png")
        new = json.loads(process.stdout.readline())
        process.send_signal(signal.SIGINT)
        _, printed = process.communicate(timeout=60)
    finally:
        process.kill()
    assert [line["prediction"]["label"] for line in present] == ["blue", "green", "red"]
    assert (new["schema"], new["verb"]) == (1, "predict")
    assert (Path(new["prediction"]["source"]).name, new["prediction"]["label"]) == ("new.png", "red")
    assert process.returncode == 0 and b"4 images" in printed
    assert len((tmp_path / "log.csv").read_text().splitlines()) == 5


def test_a_second_watch_adds_rows_to_its_csv_and_refuses_another_table(
    bundle: Path, photos: Path, tmp_path: Path, edgeclf: Run
) -> None:
    (tmp_path / "other.csv").write_text("a,b\n1,2\n")
    done = edgeclf("predict", bundle, photos, "--watch", "--csv", "other.csv")
    assert done.returncode == 2
    assert b"other columns" in done.stderr


def test_a_bundle_that_was_never_proven_here_says_so(bundle: Path, photos: Path, edgeclf: Run) -> None:
    assert b"edgeclf verify" in edgeclf("predict", bundle, photos).stderr
    edgeclf("verify", bundle)
    assert b"edgeclf verify" not in edgeclf("predict", bundle, photos).stderr


def test_after_a_failed_verify_nothing_is_predicted_unless_unproven_is_given(
    tmp_path: Path, photos: Path, make_bundle: Make, edgeclf: Run
) -> None:
    wrong = make_bundle(tmp_path / "wrong", wrong=True)
    assert edgeclf("verify", wrong).returncode == 1
    refused = edgeclf("predict", wrong, photos, "--json", "--csv", "out.csv")
    (line,) = refused.stderr.decode().splitlines()
    error = {"message": line.removeprefix("edgeclf: "), "exit_code": 1}
    assert refused.returncode == 1 and json.loads(refused.stdout) == {"schema": 1, "verb": "predict", "error": error}
    assert "failed its proof on this machine" in line and "logits differ" in line and "--allow-failed-proof" in line
    assert not (tmp_path / "out.csv").exists()
    done = edgeclf("predict", wrong, photos, "--json", "--allow-failed-proof")
    assert done.returncode == 0 and len(_document(done)["predictions"]) == 3
    first, *_, last = done.stderr.decode().splitlines()
    assert first.startswith("FAILED") and "logits differ" in first
    assert "edgeclf verify" in last and "its proof on this machine failed" in last
    assert edgeclf("predict", wrong, photos, "--pixels", "fast").returncode == 1  # it is no better for being fast


def test_a_verify_that_passes_clears_the_failed_one(bundle: Path, photos: Path, edgeclf: Run) -> None:
    edgeclf("verify", bundle)
    (proof,) = bundle.with_name("colours.proofs").iterdir()
    proof.write_text(proof.read_text().replace('"pass"', '"fail"'))
    assert edgeclf("predict", bundle, photos).returncode == 1
    assert edgeclf("verify", bundle).returncode == 0
    done = edgeclf("predict", bundle, photos)
    assert done.returncode == 0 and b"FAILED" not in done.stderr


def test_an_inconclusive_proof_is_one_loud_line_and_predict_goes_on(
    tmp_path: Path, photos: Path, make_bundle: Make, edgeclf: Run
) -> None:
    few = make_bundle(tmp_path / "few", images=3)
    edgeclf("verify", few)
    done = edgeclf("predict", few, photos)
    assert done.returncode == 0
    (line,) = (each for each in done.stderr.decode().splitlines() if "INCONCLUSIVE" in each)
    assert "5 more are needed" in line


def test_predictions_go_to_stdout_while_a_progress_bar_runs_on_the_terminal(
    bundle: Path, photos: Path, tmp_path: Path
) -> None:
    reader, terminal = os.openpty()
    with (tmp_path / "answers.json").open("wb") as answers:
        process = subprocess.Popen(
            [sys.executable, "-m", "edgeclf", "predict", str(bundle), str(photos), "--json"],
            stdout=answers,
            stderr=terminal,
            env={**os.environ, "TERM": "xterm"},
        )
        assert process.wait(timeout=60) == 0
    os.close(terminal)
    shown = os.read(reader, 1 << 16)
    os.close(reader)
    read = json.loads((tmp_path / "answers.json").read_bytes())
    assert b"\x1b[2K" in shown and b"red.png" not in shown
    assert [prediction["label"] for prediction in read["predictions"]] == ["blue", "green", "red"]


@pytest.mark.parametrize("verb", [["predict"], ["verify"], ["inspect"]])
def test_off_a_terminal_nothing_is_coloured_or_animated(
    verb: list[str], bundle: Path, photos: Path, tmp_path: Path
) -> None:
    images = [str(photos)] if verb == ["predict"] else []
    plain = {key: value for key, value in os.environ.items() if key not in ("NO_COLOR", "FORCE_COLOR")}
    done = run_edgeclf([*verb, str(bundle), *images], cwd=tmp_path, env=plain)
    assert done.returncode == 0
    assert b"\x1b" not in done.stdout + done.stderr and b"\r" not in done.stdout + done.stderr
