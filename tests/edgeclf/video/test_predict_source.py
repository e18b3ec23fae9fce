"""`edgeclf predict --source`: frames predicted, the pace shown, exit codes, and what came before a fault is kept."""

from __future__ import annotations

import contextlib
import csv
import json
import os
import pty
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from videos import write_video

from edgeclf.cli import run
from edgeclf.video.sources import find_source
from edgeclf.video.video import Video
from edgeclf_runtime.bundle.bundle import Bundle
from edgeclf_runtime.classifier import Classifier
from edgeclf_runtime.errors import DataError
from edgeclf_runtime.installing import pip_install

av = pytest.importorskip("av")
COLOURS = ("red", "green", "blue")
Run = Callable[..., "subprocess.CompletedProcess[bytes]"]
Serve = Callable[[bytes, bool], str]


def documents(done: subprocess.CompletedProcess[bytes]) -> list[Any]:
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_every_frame_of_a_file_is_predicted_in_order(bundle: Bundle, video: Path, edgeclf: Run) -> None:
    done = edgeclf("predict", bundle.path, "--source", video, "--json")
    *frames, last = documents(done)
    assert done.returncode == 0, done.stderr
    assert [each["frame"]["number"] for each in frames] == list(range(12))
    assert [each["prediction"]["label"] for each in frames] == [COLOURS[i % 3] for i in range(12)]
    assert frames[3]["prediction"]["source"] == f"{video}#3"
    assert frames[3]["frame"]["time_s"] == pytest.approx(0.3)
    assert all(each["frame"]["latency_ms"] > 0 for each in frames)
    assert {key: last["stream"][key] for key in ("answered", "errors", "dropped", "damaged", "fault")} == {
        "answered": 12,
        "errors": 0,
        "dropped": 0,
        "damaged": 0,
        "fault": None,
    }
    assert b"12 frames" in done.stderr and b"frames/s" in done.stderr and b"latency" in done.stderr


def test_frames_are_resized_fast_on_demand_and_the_proof_that_lacks_is_that_modes(
    bundle: Bundle, video: Path, edgeclf: Run
) -> None:
    done = edgeclf("predict", bundle.path, "--source", video, "--json", "--pixels", "fast")
    labels = [each["prediction"]["label"] for each in documents(done)[:-1]]
    assert done.returncode == 0 and labels == [COLOURS[i % 3] for i in range(12)]
    assert b"verify" in done.stderr and b"--pixels fast" in done.stderr


def test_frames_worth_a_label_are_collected_once_each(
    bundle: Bundle, video: Path, tmp_path: Path, edgeclf: Run
) -> None:
    done = edgeclf("predict", bundle.path, "--source", video, "--threshold", "1", "--collect", "kept", "--json")
    assert done.returncode == 0 and b"collected" in done.stderr
    kept = sorted((tmp_path / "kept").glob("*.json"))
    images = sorted((tmp_path / "kept").glob("*.jpg"))
    assert [each.stem for each in kept] == [each.stem for each in images]
    assert 1 <= len(kept) <= 3  # twelve frames of three pictures
    about = json.loads(kept[0].read_text())
    assert (about["why"], about["prediction"]["unknown_by"]) == ("unknown", "score")
    with Image.open(images[0]) as image:
        assert image.size == (64, 48)  # the frame, not what the model saw of it


def test_after_a_failed_verify_no_frame_is_predicted_unless_unproven_is_given(
    bundle: Bundle, video: Path, edgeclf: Run
) -> None:
    assert edgeclf("verify", bundle.path).returncode == 1  # its golden outputs are of other weights
    refused = edgeclf("predict", bundle.path, "--source", video, "--json")
    assert refused.returncode == 1 and set(json.loads(refused.stdout)) == {"schema", "verb", "error"}
    assert b"failed its proof on this machine" in refused.stderr
    done = edgeclf("predict", bundle.path, "--source", video, "--json", "--allow-failed-proof")
    assert done.returncode == 0 and len(documents(done)) == 13 and done.stderr.startswith(b"FAILED")


def test_frames_have_the_predictions_of_the_same_images(bundle: Bundle, video: Path, edgeclf: Run) -> None:
    done = edgeclf("predict", bundle.path, "--source", video, "--json", "-b", "5")
    with av.open(str(video)) as container, Classifier.open(bundle) as classifier:
        arrays = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
        plain = list(classifier.predict(arrays))
    found = [each["prediction"]["scores"] for each in documents(done)[:-1]]
    wanted = [
        [{"label": s.label, "probability": pytest.approx(s.probability, rel=1e-4)} for s in p.scores] for p in plain
    ]
    assert found == wanted


def test_the_newest_frames_of_a_playing_file(bundle: Bundle, video: Path, edgeclf: Run) -> None:
    done = edgeclf("predict", bundle.path, "--source", video, "--frames", "newest", "--json")
    *frames, last = documents(done)
    numbers = [each["frame"]["number"] for each in frames]
    assert numbers == sorted(set(numbers)) and numbers[-1] == 11
    assert len(numbers) + last["stream"]["dropped"] == 12


def test_a_table_and_lines(bundle: Bundle, video: Path, tmp_path: Path, edgeclf: Run) -> None:
    done = edgeclf("predict", bundle.path, "--source", video, "--every", "4", "--top", "1", "--csv", "a.csv")
    assert [line.split()[0] for line in done.stdout.decode().splitlines()] == ["red", "green", "blue"]
    with (tmp_path / "a.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(row["image"], row["answer"]) for row in rows] == [
        (f"{video}#{number}", COLOURS[number % 3]) for number in (0, 4, 8)
    ]


@pytest.mark.parametrize("stays", [False, True])
def test_a_stream_that_breaks_off_exits_with_3_and_keeps_what_came(
    stays: bool, bundle: Bundle, tmp_path: Path, web_camera: Serve, edgeclf: Run
) -> None:
    url = web_camera(write_video(tmp_path / "a.ts", frames=60, codec="mpeg2video").read_bytes(), stays)
    options = ("--frames", "all", "--timeout", "1", "--csv", "a.csv", "--json")
    done = edgeclf("predict", bundle.path, "--source", url, *options)
    *frames, last = documents(done)
    assert done.returncode == 3
    assert 30 <= len(frames) == last["stream"]["answered"] < 60
    assert last["stream"]["fault"].startswith("http://127.0.0.1:")
    errors = [line for line in done.stderr.decode().splitlines() if line.startswith("edgeclf:")]
    assert len(errors) == 1 and ("nothing came for 1 s" if stays else "broke off") in errors[0]
    assert len((tmp_path / "a.csv").read_text().splitlines()) == len(frames) + 1
    assert "secret" not in (done.stdout + done.stderr).decode()


@pytest.mark.parametrize("batch_size", ["1", "4"])
def test_a_file_that_was_cut_exits_with_3_and_predicts_every_frame_before(
    batch_size: str, bundle: Bundle, tmp_path: Path, edgeclf: Run
) -> None:
    whole = write_video(tmp_path / "whole.mkv", frames=60)
    cut = tmp_path / "cut.mkv"
    cut.write_bytes(whole.read_bytes()[: whole.stat().st_size // 2])
    numbers: list[int] = []
    with pytest.raises(DataError):
        numbers.extend(shot.number for shot in Video(find_source(str(cut))).shots())
    done = edgeclf("predict", bundle.path, "--source", cut, "--json", "-b", batch_size)
    *frames, last = documents(done)
    assert done.returncode == 3
    assert [each["frame"]["number"] for each in frames] == numbers
    assert last["stream"]["answered"] == len(numbers) and "the rest is missing" in last["stream"]["fault"]


def test_sigterm_ends_a_live_stream_with_0(bundle: Bundle, tmp_path: Path, web_camera: Serve) -> None:
    url = web_camera(write_video(tmp_path / "a.ts", frames=60, codec="mpeg2video").read_bytes(), True)
    command = [sys.executable, "-m", "edgeclf", "predict", str(bundle.path), "--source", url, "--json"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    killer = threading.Timer(60, process.kill)
    killer.start()
    assert process.stdout is not None
    assert json.loads(process.stdout.readline())["frame"]["number"] >= 0
    process.send_signal(signal.SIGTERM)
    rest, errors = process.communicate()
    killer.cancel()
    assert process.returncode == 0, errors
    assert json.loads(rest.splitlines()[-1])["stream"]["answered"] >= 1


def test_the_pace_moves_on_the_terminal_and_stays_out_of_the_predictions(bundle: Bundle, video: Path) -> None:
    terminal, other_end = pty.openpty()
    options = ("--frames", "newest", "--json")
    command = [sys.executable, "-m", "edgeclf", "predict", str(bundle.path), "--source", str(video), *options]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=other_end)
    os.close(other_end)
    shown = b""
    with contextlib.suppress(OSError):  # how a terminal ends
        while block := os.read(terminal, 65536):
            shown += block
    os.close(terminal)
    answers, _ = process.communicate(timeout=60)
    assert json.loads(answers.splitlines()[-1])["stream"]["answered"] >= 1
    assert shown.count(b"frames/s") >= 2 and b"schema" not in shown


@pytest.mark.parametrize(
    "arguments, code, message",
    [
        (["--source", "missing.mp4"], 3, "missing.mp4: No such file"),
        (["--source", "ftp://host/a.mp4"], 2, "no streams from 'ftp' URLs"),
        (["--source", "a.mp4", "b.jpg"], 2, "--source takes one stream and nothing else"),
        (["--source", "a.mp4", "--watch"], 2, "--source takes one stream and nothing else"),
        (["--source", "a.mp4", "--frames", "some"], 2, "--frames takes no 'some'; choose one of newest, all"),
        (["--source", "http://127.0.0.1:9/a.ts"], 3, "can't be opened (Connection refused)"),
    ],
)
def test_invalid_options_get_one_line(
    arguments: list[str], code: int, message: str, bundle: Bundle, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["predict", str(bundle.path), *arguments]) == code
    printed = capsys.readouterr()
    errors = [line for line in printed.err.splitlines() if line.startswith("edgeclf:")]
    assert (printed.out, len(errors)) == ("", 1)
    assert message in errors[0]


def test_without_pyav_the_extra_is_named(bundle: Bundle, tmp_path: Path, edgeclf: Run) -> None:
    (tmp_path / "hidden").mkdir()
    (tmp_path / "hidden/sitecustomize.py").write_text(
        "import importlib.util as util\n"
        "found = util.find_spec\n"
        "util.find_spec = lambda name, package=None: None if name == 'av' else found(name, package)\n"
    )
    path = os.pathsep.join([str(tmp_path / "hidden"), *filter(None, [os.environ.get("PYTHONPATH")])])
    done = edgeclf("predict", bundle.path, "--source", "a.mp4", PYTHONPATH=path)
    assert done.returncode == 4
    assert f"av is not installed; install it with: {pip_install('video')}".encode() in done.stderr
