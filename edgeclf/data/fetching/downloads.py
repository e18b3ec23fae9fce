"""Data sets over the network: torchvision's, by its own download code, and CIFAR's binary version, without pickles."""

from __future__ import annotations

import os
import sys
import tarfile
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from http.client import HTTPException
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from edgeclf.data.fetching.fetched import DownloadFailed, Fetched
from edgeclf_runtime.backends.torchvision_guard import guard_torchvision
from edgeclf_runtime.errors import BackendError, one_line
from edgeclf_runtime.images.labelled import Split
from edgeclf_runtime.installing import pip_install

Load = Callable[[Path], Iterable[Fetched]]
_WITHOUT_LOADER = ("FashionMNIST", "MNIST", "OxfordIIITPet")
_CIFAR_SITE = "https://www.cs.toronto.edu/~kriz/"


def _torchvision(kind: str, splits: dict[Split | None, dict[str, Any]], downloads: Path) -> Iterator[Fetched]:
    """The images of a torchvision data set. Files are passed on as they are, arrays become images."""
    for split, options in splits.items():
        dataset = _download(kind, downloads, options)
        digits = len(str(len(dataset)))
        for number in range(len(dataset)):
            image, label = dataset[number]
            yield Fetched(
                image if isinstance(image, Image.Image) else Path(image),
                _class_name(dataset.classes[label]),
                split,
                f"{split or 'image'}_{number:0{digits}}",
            )


def _download(kind: str, downloads: Path, options: dict[str, Any]) -> Any:
    datasets = _import_datasets()
    if kind not in _WITHOUT_LOADER:
        options = {**options, "loader": Path}  # the file's path instead of its decoded image
    try:
        return getattr(datasets, kind)(downloads, download=True, **options)
    except (OSError, RuntimeError, HTTPException, tarfile.TarError) as error:
        raise _failed(error) from error


def _cifar(name: str, md5: str, members: dict[Split, list[str]], names: str, downloads: Path) -> Iterator[Fetched]:
    """CIFAR's binary version: records of label bytes (the last counts) and 3x32x32 levels. Nothing is unpacked."""
    _import_datasets()
    from torchvision.datasets.utils import download_url

    archive = f"{name}.tar.gz"
    try:
        download_url(_CIFAR_SITE + archive, downloads, md5=md5)
    except (OSError, RuntimeError, HTTPException) as error:
        raise _failed(error) from error
    label_bytes = 1 if name.startswith("cifar-10-") else 2
    with tarfile.open(downloads / archive) as tar:  # its MD5 is known to be right
        classes = _member(tar, names).decode().split()
        for split, parts in members.items():
            records = np.frombuffer(b"".join(_member(tar, part) for part in parts), np.uint8)
            records = records.reshape(-1, label_bytes + 3072)
            for number, record in enumerate(records):
                levels = record[label_bytes:].reshape(3, 32, 32).transpose(1, 2, 0)
                label = classes[int(record[label_bytes - 1])]
                yield Fetched(Image.fromarray(np.ascontiguousarray(levels)), label, split, f"{split}_{number:05}")


def _member(tar: tarfile.TarFile, name: str) -> bytes:
    file = tar.extractfile(name)
    if file is None:
        raise DownloadFailed(f"{name} is not a file in the archive")
    return file.read()


def _import_datasets() -> Any:
    if not sys.stderr.isatty():
        os.environ.setdefault("TQDM_DISABLE", "1")  # torchvision's own progress bar
    try:
        guard_torchvision()
        from torchvision import datasets
    except ImportError as error:
        raise BackendError(f"downloads need torchvision, which is missing: {pip_install('export')}") from error
    return datasets


def _failed(error: Exception) -> DownloadFailed:
    return DownloadFailed(one_line(error, 120))


def _class_name(name: Any) -> str:
    """The first of a class's names, where a data set gives several."""
    return str(name[0] if isinstance(name, tuple) else name)


_TRAIN_TEST: dict[Split | None, dict[str, Any]] = {"train": {"split": "train"}, "test": {"split": "test"}}
_ALL_THREE: dict[Split | None, dict[str, Any]] = {split: {"split": split} for split in ("train", "val", "test")}
_MNIST: dict[Split | None, dict[str, Any]] = {"train": {"train": True}, "test": {"train": False}}
_IMAGENETTE: dict[Split | None, dict[str, Any]] = {
    "train": {"split": "train", "size": "320px"},
    "test": {"split": "val", "size": "320px"},
}
_CIFAR10: dict[Split, list[str]] = {
    "train": [f"cifar-10-batches-bin/data_batch_{i}.bin" for i in range(1, 6)],
    "test": ["cifar-10-batches-bin/test_batch.bin"],
}
_CIFAR100: dict[Split, list[str]] = {"train": ["cifar-100-binary/train.bin"], "test": ["cifar-100-binary/test.bin"]}
DOWNLOADS: dict[str, tuple[str, Load]] = {
    "cifar10": (
        "60,000 photographs, 32x32 px, 10 classes (170 MB)",
        partial(
            _cifar,
            "cifar-10-binary",
            "c32a1d4ab5d03f1284b67883e8d87530",
            _CIFAR10,
            "cifar-10-batches-bin/batches.meta.txt",
        ),
    ),
    "cifar100": (
        "60,000 photographs, 32x32 px, 100 classes (169 MB)",
        partial(
            _cifar,
            "cifar-100-binary",
            "03b5dce01913d631647c71ecec9e9cb8",
            _CIFAR100,
            "cifar-100-binary/fine_label_names.txt",
        ),
    ),
    "dtd": ("5,640 textures, 47 classes (600 MB)", partial(_torchvision, "DTD", _ALL_THREE)),
    "eurosat": ("27,000 satellite tiles, 64x64 px, 10 classes (90 MB)", partial(_torchvision, "EuroSAT", {None: {}})),
    "fashion-mnist": (
        "70,000 grey images of clothes, 28x28 px, 10 classes (30 MB)",
        partial(_torchvision, "FashionMNIST", _MNIST),
    ),
    "flowers102": ("8,189 flowers, 102 classes (345 MB)", partial(_torchvision, "Flowers102", _ALL_THREE)),
    "food101": ("101,000 dishes, 101 classes (5 GB)", partial(_torchvision, "Food101", _TRAIN_TEST)),
    "imagenette": (
        "13,394 photographs of ImageNet, 320 px, 10 classes (340 MB)",
        partial(_torchvision, "Imagenette", _IMAGENETTE),
    ),
    "mnist": ("70,000 grey digits, 28x28 px, 10 classes (11 MB)", partial(_torchvision, "MNIST", _MNIST)),
    "oxford-iiit-pet": (
        "7,349 cats and dogs, 37 breeds (800 MB)",
        partial(_torchvision, "OxfordIIITPet", {"train": {"split": "trainval"}, "test": {"split": "test"}}),
    ),
}
