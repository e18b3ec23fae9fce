"""`edgeclf build`, and `--rebuild-if-stale` of the verbs that run a bundle."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import tiny
from fake_gpu import FakeGpu
from fake_tensorrt import FakeTensorRT

from edgeclf import cli

Run = Callable[..., "subprocess.CompletedProcess[bytes]"]


@pytest.fixture
def portable(tmp_path: Path) -> Path:
    return tiny.build(tmp_path / "net", "tensorrt").path


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    place = tmp_path / "picture.png"
    tiny.images(1)[0].save(place)
    return place


def run(*arguments: Any) -> int:
    return cli.run(list(map(str, arguments)))


def update(gpu: FakeGpu, monkeypatch: pytest.MonkeyPatch) -> None:
    """TensorRT becomes a newer one."""
    newer = FakeGpu(gpu.cudart, FakeTensorRT(gpu.cudart, "10.7.0", bytes([10, 7, 0, 23])))
    for module in ("backends.tensorrt.backend", "deploy.build"):
        monkeypatch.setattr(f"edgeclf_runtime.{module}.import_tensorrt", lambda: newer.library)


def test_a_portable_bundle_becomes_a_built_one_that_predicts(
    portable: Path, picture: Path, gpu: FakeGpu, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("build", portable) == 0
    shown = capsys.readouterr()
    for words in ("✓ pass", "tensorrt 10.3.0, computing in fp32", " ms", "median of one image", "100% fp32"):
        assert words in shown.out
    for words in (
        f"{portable} is portable; building net-sm87-trt10.3",
        "built, for this machine alone",
        "next: edgeclf",
    ):
        assert words in shown.err
    assert run("predict", f"{portable}-sm87-trt10.3", picture, "--json") == 0
    (answer,) = json.loads(capsys.readouterr().out)["predictions"]
    assert answer["label"] in tiny.LABELS


def test_as_json_it_says_what_was_made_and_measured(
    portable: Path, gpu: FakeGpu, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("build", portable, "-o", portable.with_name("out"), "--max-batch", 8, "--json") == 0
    read = json.loads(capsys.readouterr().out)
    assert (read["verb"], read["made"], read["bundle"]["state"]) == ("build", True, "built")
    assert read["bundle"]["path"] == str(portable.with_name("out"))
    assert read["latency"]["batch"] == 1 and read["latency"]["median_ms"] > 0
    assert read["audit"]["shares"] == {"fp32": 1.0} and read["proof"]["verdict"] == "pass"
    assert gpu.trt.configs[0].profiles[0]["pixels"][2][0] == 8


def test_options_that_are_not_given_stay_those_of_the_bundle(portable: Path, gpu: FakeGpu) -> None:
    (portable / "build.json").write_text('{"opt_batch": 2, "max_batch": 4, "workspace_mib": 100}')
    tiny.reseal(portable)
    assert run("build", portable, "--max-batch", 6, "--workspace", 200, "--tf32") == 0
    (config,) = gpu.trt.configs
    assert [shape[0] for shape in config.profiles[0]["pixels"]] == [1, 2, 6]
    assert (config.limits, config.flags) == ({"WORKSPACE": 200 << 20}, {"TF32"})


def test_a_failed_proof_exits_1_and_is_kept_aside(
    portable: Path, gpu: FakeGpu, capsys: pytest.CaptureFixture[str]
) -> None:
    gpu.trt.wrong = True
    assert run("build", portable) == 1
    assert f"kept aside as {portable}-sm87-trt10.3.failed" in capsys.readouterr().err
    assert sorted(path.name for path in portable.parent.iterdir()) == ["net", "net-sm87-trt10.3.failed"]


def test_without_a_gpu_it_exits_4_with_one_sentence(
    portable: Path, gpu: FakeGpu, capsys: pytest.CaptureFixture[str]
) -> None:
    gpu.cudart.gpus = 0
    assert run("build", portable) == 4
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(
        f"edgeclf: {portable} is portable, and no engine can be built here: TensorRT needs an NVIDIA"
    )


def test_running_a_portable_bundle_says_how_to_build_it(portable: Path, picture: Path, edgeclf: Run) -> None:
    for command in (("predict", portable, picture), ("verify", portable)):
        done = edgeclf(*command)
        assert done.returncode == 4
        assert f"is portable, not yet built; build it on the machine it shall run on: edgeclf build {portable}" in (
            done.stderr.decode()
        )


def test_a_stale_engine_exits_4_and_says_what_differs_and_what_to_do(
    portable: Path, picture: Path, gpu: FakeGpu, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run("build", portable)
    update(gpu, monkeypatch)
    capsys.readouterr()
    assert run("predict", f"{portable}-sm87-trt10.3", picture) == 4
    (line,) = capsys.readouterr().err.splitlines()
    assert "built with TensorRT 10.3.0, this machine has 10.7.0" in line and "--rebuild-if-stale" in line


def labelled(folder: Path) -> Path:
    """A folder of classes with four crops of a photograph in each."""
    for place, picture in enumerate(tiny.images(12)):
        (folder / tiny.LABELS[place % 3]).mkdir(parents=True, exist_ok=True)
        picture.save(folder / tiny.LABELS[place % 3] / f"{place}.png")
    return folder


@pytest.mark.parametrize("verb", ["predict", "verify", "eval"])
def test_rebuild_if_stale_builds_loudly_and_goes_on(
    verb: str,
    portable: Path,
    picture: Path,
    gpu: FakeGpu,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    run("build", portable)
    update(gpu, monkeypatch)
    capsys.readouterr()
    data = {"predict": [picture], "verify": []}.get(verb)
    if data is None:
        data = [labelled(portable.with_name("data")), "--split", "all", "-o", portable.with_name("report")]
    assert run(verb, f"{portable}-sm87-trt10.3", *data, "--rebuild-if-stale") == 0
    assert "is STALE: it was built with TensorRT 10.3.0" in capsys.readouterr().err
    assert (portable.parent / "net-sm87-trt10.7/model.plan").exists()


def test_another_bundle_is_verified_and_measured(bundle: Path, edgeclf: Run) -> None:
    done = edgeclf("build", bundle)
    assert done.returncode == 0, done.stderr
    assert b"pass" in done.stdout and b"median of one image" in done.stdout
    (proof,) = bundle.with_name("colours.proofs").iterdir()
    assert f"wrote {proof}" in done.stderr.decode()
    assert b"reference bundles run as they are" in done.stderr


def test_another_bundle_that_fails_here_exits_1(tmp_path: Path, make_bundle: Callable[..., Path], edgeclf: Run) -> None:
    done = edgeclf("build", make_bundle(tmp_path / "wrong", wrong=True))
    assert done.returncode == 1
    assert b"fails on this machine" in done.stderr


def test_an_inconclusive_proof_is_loud_and_strict_makes_it_1(
    tmp_path: Path, make_bundle: Callable[..., Path], edgeclf: Run
) -> None:
    few = make_bundle(tmp_path / "few", images=3)
    done = edgeclf("build", few)
    assert done.returncode == 0 and b"INCONCLUSIVE" in done.stderr
    assert edgeclf("build", few, "--strict").returncode == 1


@pytest.mark.parametrize("option", [("--max-batch", "8"), ("--workspace", "100"), ("--tf32",), ("-o", "elsewhere")])
def test_options_of_tensorrt_are_refused_for_other_bundles(option: tuple[str, ...], bundle: Path, edgeclf: Run) -> None:
    done = edgeclf("build", bundle, *option)
    assert done.returncode == 2
    name = {"-o": "--output"}.get(option[0], option[0])
    assert f"{name} is for tensorrt bundles" in done.stderr.decode()
