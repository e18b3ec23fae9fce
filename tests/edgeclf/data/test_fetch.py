"""Public data sets become image folders: the embedded ones whole, the others with a line where no network is."""

from __future__ import annotations

import io
import re
import sys
import tarfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from urllib.error import URLError

import numpy as np
import pytest
from PIL import Image

from edgeclf.data.check import check_source
from edgeclf.data.fetching import downloads
from edgeclf.data.fetching.fetch import fetch_dataset, public_sets
from edgeclf.data.fetching.fetched import DownloadFailed, Fetched
from edgeclf.data.findings import find_faults
from edgeclf.data.sources import read_dataset
from edgeclf.data.split import open_data
from edgeclf_runtime.bundle import atomic_write as writer
from edgeclf_runtime.errors import BackendError, DataError, UsageError
from edgeclf_runtime.installing import pip_install


@pytest.fixture(scope="module", autouse=True)
def unsynced() -> Iterator[None]:
    """Thousands of small files without waiting for the disk after each."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(writer, "_sync", lambda path: None)
        yield


def test_digits_are_the_scans_themselves(tmp_path: Path) -> None:
    assert fetch_dataset("digits", tmp_path / "digits") == 1797
    found = read_dataset(tmp_path / "digits")
    assert found.classes == tuple("0123456789") and found.passed_over == 0
    with Image.open(tmp_path / "digits" / "0" / "0000.png") as image:
        assert image.size == (8, 8) and image.mode == "L"
        assert np.asarray(image)[0].tolist() == [0, 0, 80, 207, 143, 16, 0, 0]  # 0 0 5 13 9 1 0 0 of 16


@pytest.fixture(scope="module")
def patches(tmp_path_factory: pytest.TempPathFactory, unsynced: None) -> Path:
    folder = tmp_path_factory.mktemp("fetched") / "patches"
    fetch_dataset("photo-patches", folder)
    return folder


def test_patches_of_a_block_lie_in_one_split(patches: Path) -> None:
    found = read_dataset(patches / "images.csv")
    assert len(found.classes) == 16
    splits: dict[str | None, set[str | None]] = {}
    for sample in found.images:
        splits.setdefault(sample.group, set()).add(sample.split)
    assert all(len(each) == 1 for each in splits.values())
    assert set(Counter(sample.group for sample in found.images).values()) == {4}
    for split in ("train", "val", "test"):
        assert {sample.label for sample in found.images if sample.split == split} == set(found.classes)


def test_patches_pass_the_check(patches: Path) -> None:
    assert {finding.verdict for finding in find_faults(check_source(patches / "images.csv"))} == {"pass"}


def test_folders_and_table_agree(patches: Path) -> None:
    items = [open_data(source).images for source in (patches, patches / "images.csv")]
    assert [(each.path, each.label, each.split) for each in items[0]] == sorted(
        (each.path, each.label, each.split) for each in items[1]
    )
    with Image.open(next(patches.rglob("*.png"))) as image:
        assert image.size == (48, 48) and image.mode == "L"


def test_collages_have_any_number_of_labels_and_a_pair_of_blocks_lies_in_one_split(tmp_path: Path) -> None:
    fetch_dataset("collages", tmp_path / "collages")
    found = read_dataset(tmp_path / "collages" / "images.csv", several_labels="known")
    assert found.multi_label and len(found.classes) == 16
    assert {len(image.labels or ()) for image in found.images} == {0, 1, 2}
    splits: dict[str | None, set[str | None]] = {}
    for image in found.images:
        splits.setdefault(image.group, set()).add(image.split)
    assert all(len(each) == 1 for each in splits.values())
    for split in ("train", "val", "test"):
        shown = [image for image in found.images if image.split == split]
        assert {label for image in shown for label in image.labels or ()} == set(found.classes)
        assert any(not image.labels for image in shown)
    assert len({image.path.read_bytes() for image in found.images}) == len(found.images)


def test_an_existing_folder_needs_force(tmp_path: Path, cifar: None) -> None:
    (tmp_path / "cifar").mkdir()
    with pytest.raises(UsageError, match="exists"):
        fetch_dataset("cifar10", tmp_path / "cifar")
    assert fetch_dataset("cifar10", tmp_path / "cifar", force=True) == 6


@pytest.mark.parametrize(("name", "package"), [("digits", "sklearn.datasets"), ("mnist", "torchvision")])
def test_a_missing_package_is_named(name: str, package: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(BackendError, match=re.escape(f"missing: {pip_install('export')}")):
        fetch_dataset(name, tmp_path / "set")
    assert list(tmp_path.iterdir()) == []


def test_an_unknown_data_set_is_refused_with_the_nearest_name(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="did you mean cifar10"):
        fetch_dataset("cifar-10", tmp_path / "x")
    assert not (tmp_path / "x").exists()


@pytest.fixture
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    downloads._import_datasets()
    from torchvision.datasets import utils

    def refuse(*arguments: object, **options: object) -> None:
        raise URLError("[Errno -2] Name or service not known")

    monkeypatch.setattr(utils, "_get_redirect_url", refuse)
    monkeypatch.setattr(utils, "_urlretrieve", refuse)


@pytest.mark.parametrize("name", [each.name for each in public_sets() if not each.embedded])
def test_without_a_network_one_line_says_so_and_nothing_is_left(name: str, tmp_path: Path, no_network: None) -> None:
    with pytest.raises(DataError) as caught:
        fetch_dataset(name, tmp_path / "set")
    assert str(caught.value).startswith(f"{name} can't be downloaded (")
    assert "photo-patches" in str(caught.value) and "\n" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []


@pytest.fixture
def cifar(monkeypatch: pytest.MonkeyPatch) -> None:
    """A download of CIFAR-10's form with one image a file."""
    downloads._import_datasets()
    from torchvision.datasets import utils

    def write(url: str, root: Path, md5: str) -> None:
        assert url == "https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz" and len(md5) == 32
        record = bytes([3]) + bytes([255]) * 1024 + bytes([7]) * 1024 + bytes([0]) * 1024
        names = [f"data_batch_{i}.bin" for i in range(1, 6)] + ["test_batch.bin"]
        files = {name: record for name in names}
        files["batches.meta.txt"] = b"airplane\nautomobile\nbird\ncat\ndeer\ndog\nfrog\nhorse\nship\ntruck\n\n"
        with tarfile.open(root / "cifar-10-binary.tar.gz", "w:gz") as tar:
            for name, data in files.items():
                member = tarfile.TarInfo(f"cifar-10-batches-bin/{name}")
                member.size = len(data)
                tar.addfile(member, io.BytesIO(data))

    monkeypatch.setattr(utils, "download_url", write)


def test_cifar_is_read_without_its_pickles(tmp_path: Path, cifar: None) -> None:
    assert fetch_dataset("cifar10", tmp_path / "cifar") == 6
    assert sorted(path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*.png")) == [
        "cifar/test/cat/test_00000.png",
        *(f"cifar/train/cat/train_{number:05}.png" for number in range(5)),
    ]
    with Image.open(tmp_path / "cifar/test/cat/test_00000.png") as image:
        assert image.getpixel((31, 31)) == (255, 7, 0)


def test_files_are_moved_and_class_names_make_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def load(folder: Path) -> Iterator[Fetched]:
        for number, label in enumerate(("T-shirt/top", "../trousers")):
            (folder / f"{number}.JPG").write_bytes(b"bytes")
            yield Fetched(folder / f"{number}.JPG", label, "train", f"train_{number}")

    monkeypatch.setitem(downloads.DOWNLOADS, "clothes", ("clothes", load))
    fetch_dataset("clothes", tmp_path / "set")
    assert sorted(path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*.jpg")) == [
        "set/train/..-trousers/train_1.jpg",
        "set/train/T-shirt-top/train_0.jpg",
    ]


def test_a_download_that_breaks_off_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def load(folder: Path) -> Iterator[Fetched]:
        yield Fetched(Image.new("L", (8, 8)), "cat", "train", "train_0")
        raise DownloadFailed("connection reset")

    monkeypatch.setitem(downloads.DOWNLOADS, "cats", ("cats", load))
    with pytest.raises(DataError, match=r"cats can't be downloaded \(connection reset\)"):
        fetch_dataset("cats", tmp_path / "set")
    assert list(tmp_path.iterdir()) == []
