"""The command line as a whole: exit codes, one line per error, and what --help does not import."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import typer

from edgeclf import cli, commands
from edgeclf_runtime.classifier import Classifier
from edgeclf_runtime.errors import BackendError, DataError, GateError, UsageError
from edgeclf_runtime.machine import facts as machine

HEAVY = ("torch", "torchvision", "timm", "sklearn", "skimage", "matplotlib", "onnx", "onnxruntime", "openvino", "scipy")
Run = Callable[..., "subprocess.CompletedProcess[bytes]"]
Make = Callable[..., Path]
VERBS = [str(verb.name) for verb in commands.build_app().registered_commands]


def _only_line(text: str | bytes) -> str:
    """The one line of an error; no traceback."""
    decoded = text.decode() if isinstance(text, bytes) else text
    (line,) = decoded.splitlines()
    assert line.startswith("edgeclf: ")
    return line


@pytest.mark.parametrize("verb", ["", *VERBS])
def test_every_verb_explains_itself(verb: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run([*filter(None, [verb]), "--help"]) == 0
    text = capsys.readouterr().out
    assert "Usage: edgeclf" in text
    if verb not in ("", "demo"):  # demo prints the commands that it runs
        assert "Example" in text and "  edgeclf " in text


def test_help_imports_nothing_heavy() -> None:
    script = (
        "import sys; from edgeclf import cli\n"
        f"codes = [cli.run([*verb, '--help']) for verb in [[], *([name] for name in {VERBS!r})]]\n"
        f"print([name for name in {HEAVY!r} if name in sys.modules], codes, file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60)
    assert done.stderr.strip() == f"[] {[0] * (len(VERBS) + 1)}"


def test_the_version_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run(["--version"]) == 0
    assert capsys.readouterr().out.startswith("edgeclf ")


def test_no_verb_shows_the_help_and_is_a_usage_error(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run([]) == 2
    shown = capsys.readouterr()
    assert shown.out == "" and "predict" in shown.err


def test_an_option_of_one_value_that_is_given_twice_is_warned_of(capsys: pytest.CaptureFixture[str]) -> None:
    cli.run(["export", "-m", "net", "--model", "other", "-t", "onnx", "-t", "nothing", "--force", "--force"])
    warning, *rest = capsys.readouterr().err.splitlines()
    assert warning == "warning: --model is given more than once; the last value counts"
    assert not any("more than once" in line for line in rest)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["predct"], "Did you mean 'predict'"),
        (["classify"], "Did you mean 'predict'"),
        (["\x1b[31m[red]"], "\\x1b[31m[red]"),
        (["predict"], "BUNDLE"),
        (["predict", "bundle", "--top", "0"], "--top"),
        (["predict", "bundle", "--no-such-option"], "--no-such-option"),
        (["predict", "bundle"], "name files or folders"),
        (["predict", "bundle", "a.png", "--json", "--csv", "-"], "--csv"),
        (["predict", "bundle", "a.png", "--watch"], "--watch"),
        (["predict", "bundle", "a.png", "--compute-precision", "int7"], "takes no 'int7'; choose one of fp32"),
        (["verify", "bundle", "--threads", "many"], "--threads"),
    ],
)
def test_a_usage_error_is_one_line_and_exit_code_2(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.run(arguments) == 2
    assert message in _only_line(capsys.readouterr().err)


@pytest.mark.parametrize(
    ("error", "code", "message"),
    [
        (GateError("parity lost"), 1, "parity lost"),
        (UsageError("no such thing"), 2, "no such thing"),
        (DataError("[red]\x1b[31m\nx"), 3, "[red]\\x1b[31m\\nx"),
        (BackendError("no engine"), 4, "no engine"),
        (MemoryError(), 4, "out of memory"),
        (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB."), 4, "out of memory"),
        (OSError(errno.ENOSPC, "No space left on device", "answers.csv"), 3, "answers.csv: No space left"),
        (RuntimeError("impossible\n[red]"), 70, "a bug: RuntimeError: impossible\\n[red]"),
        (KeyboardInterrupt(), 130, "interrupted"),
        (cli.Terminated(), 143, "terminated"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, BaseException) else "",
)
def test_every_error_has_its_exit_code_and_one_line(
    error: BaseException,
    code: int,
    message: str,
    bundle: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def fail(*arguments: object, **options: object) -> None:
        raise error

    monkeypatch.setattr(Classifier, "open", fail)
    assert cli.run(["predict", str(bundle), "a.png"]) == code
    assert message in _only_line(capsys.readouterr().err)


def test_a_traceback_is_shown_on_request(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("EDGECLF_TRACEBACK", "1")
    assert cli.run(["inspect", "/no/such/bundle"]) == 3
    assert "Traceback" in capsys.readouterr().err


@pytest.mark.parametrize("verb", ["predict", "verify"])
def test_an_old_jetpack_is_refused_in_one_sentence(
    verb: str, bundle: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(machine, "jetson_refusal", lambda: "a Jetson of old: flash a newer JetPack")
    assert cli.run([verb, str(bundle)]) == 4
    assert "flash a newer JetPack" in _only_line(capsys.readouterr().err)


def test_sigterm_is_handled_as_before_once_a_command_is_done() -> None:
    before = signal.getsignal(signal.SIGTERM)
    cli.run(["--version"])
    assert signal.getsignal(signal.SIGTERM) is before


@pytest.mark.parametrize("verb", ["predict", "verify", "inspect", "pack"])
def test_a_missing_bundle_is_one_line_and_exit_code_3(verb: str, edgeclf: Run) -> None:
    done = edgeclf(verb, "nowhere", *(["a.png"] if verb == "predict" else []))
    assert done.returncode == 3
    assert _only_line(done.stderr) == "edgeclf: nowhere: no such bundle"


def test_a_newer_manifest_says_to_update(bundle: Path, edgeclf: Run) -> None:
    manifest = bundle / "manifest.json"
    manifest.write_text(manifest.read_text().replace('"schema": 1', '"schema": 99'))
    done = edgeclf("verify", bundle)
    assert done.returncode == 3
    assert "update edgeclf" in _only_line(done.stderr)


def test_a_reader_that_left_is_no_error(bundle: Path, photos: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "edgeclf", "predict", str(bundle), str(photos)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=tmp_path)
    assert process.stdout is not None and process.stderr is not None
    process.stdout.close()
    printed = process.stderr.read().decode()
    process.stderr.close()
    assert process.wait(timeout=60) == 141
    assert "Error" not in printed and "edgeclf:" not in printed


def test_a_reader_that_left_is_no_error_while_a_csv_is_written(bundle: Path, photos: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "edgeclf", "predict", str(bundle), str(photos), "--csv", "answers.csv"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, cwd=tmp_path)
    assert process.stdout is not None
    process.stdout.close()
    assert process.wait(timeout=60) == 141
    kept = [path.name for path in tmp_path.iterdir() if path.name not in ("colours", "photos")]
    assert kept in ([], ["answers.interrupted.csv"])  # the rows until then, if there were any


def test_a_full_disk_is_one_line(bundle: Path, tmp_path: Path) -> None:
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "edgeclf", "inspect", str(bundle), "--json"],
            stdout=full,
            stderr=subprocess.PIPE,
            cwd=tmp_path,
            timeout=60,
        )
    assert done.returncode == 3
    assert "No space left on device" in _only_line(done.stderr.splitlines()[-1])
    assert b"Traceback" not in done.stderr


@pytest.mark.parametrize("full", ["stdout", "stderr"])
def test_an_error_keeps_its_exit_code_where_it_can_not_be_printed(full: str, tmp_path: Path) -> None:
    with open("/dev/full", "w") as device:
        streams = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, full: device}
        command = [sys.executable, "-m", "edgeclf", "inspect", "nowhere", "--json"]
        done = subprocess.run(command, **streams, cwd=tmp_path, timeout=60)  # type: ignore[call-overload]
    assert done.returncode == 3
    assert b"Traceback" not in (done.stderr or b"")


@pytest.mark.parametrize(("sent", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_ends_a_run_and_leaves_nothing_behind(
    sent: signal.Signals, code: int, bundle: Path, photos: Path, tmp_path: Path
) -> None:
    command = [sys.executable, "-m", "edgeclf", "predict", str(bundle), "-", "--csv", "answers.csv"]
    process = subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=tmp_path
    )
    assert process.stdin is not None and process.stdout is not None
    process.stdin.write(os.fsencode(photos / "red.png") + b"\n")
    process.stdin.flush()
    assert b"red.png" in process.stdout.readline()  # the first answer comes although more may follow
    time.sleep(0.1)
    process.send_signal(sent)
    _, printed = process.communicate(timeout=60)
    assert process.returncode == code
    assert b"Traceback" not in printed
    assert not (tmp_path / "answers.csv").exists()
    assert not list(tmp_path.glob(".*"))


def test_a_home_is_not_needed(bundle: Path, photos: Path, tmp_path: Path) -> None:
    bare = {key: value for key, value in os.environ.items() if key in ("PATH", "PYTHONPATH", "LD_LIBRARY_PATH")}
    for arguments in (["predict", bundle, photos], ["verify", bundle]):
        command = [sys.executable, "-m", "edgeclf", *map(str, arguments)]
        done = subprocess.run(command, capture_output=True, cwd=tmp_path, env=bare, timeout=60)
        assert done.returncode == 0, done.stderr


def test_a_terminal_without_unicode_gets_ascii(bundle: Path, photos: Path, edgeclf: Run) -> None:
    done = edgeclf("predict", bundle, photos, PYTHONIOENCODING="ascii")
    assert done.returncode == 0
    assert done.stdout.isascii() and b"####" in done.stdout


def test_a_signal_that_comes_up_in_a_finalizer_is_not_lost() -> None:
    """Python only prints an exception that a signal raises there; the process would go on as if nothing had been."""
    script = (
        "import os, signal, sys, time\n"
        "from edgeclf import cli\n"
        "class Finalized:\n"
        "    def __del__(self):\n"
        "        os.kill(os.getpid(), signal.SIGTERM); time.sleep(0.01)\n"
        "def work(arguments):\n"
        "    Finalized()\n"
        "    for _ in range(1000): time.sleep(0.01)\n"
        "cli._run = work\n"
        "sys.exit(cli.run([]))\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60)
    assert done.returncode == 143 and done.stderr == "edgeclf: terminated\n"


def test_every_option_of_train_stands_under_one_heading() -> None:
    from edgeclf.verbs.shared.training_options import TRAIN_HEADINGS

    whole: Any = typer.main.get_command(commands.build_app("train"))
    command = whole.commands["train"]
    headed = [name for names in TRAIN_HEADINGS.values() for name in names]
    options = {each.name for each in command.params if each.param_type_name == "option"}
    assert len(set(headed)) == len(headed)
    assert options - set(headed) == {"config", "as_json"}
    shown = command.get_help(command.make_context("train", [], resilient_parsing=True))
    assert all(f"\n{heading}:\n" in shown for heading in (*TRAIN_HEADINGS, "Other"))
