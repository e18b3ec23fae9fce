"""A bundle's integrity: whatever is wrong with its files is one BundleError, raised before any engine sees a byte."""

from __future__ import annotations

import io
import os
import shutil
import tarfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import tiny

from edgeclf_runtime.bundle.atomic_write import writing
from edgeclf_runtime.bundle.bundle import Bundle, pack
from edgeclf_runtime.classifier import Classifier
from edgeclf_runtime.deploy.verify import verify
from edgeclf_runtime.errors import BundleError, UsageError
from edgeclf_runtime.session import BACKENDS, open_session


@pytest.fixture
def engine_is_never_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        pytest.fail("the engine was opened")

    for name, backend in list(BACKENDS.items()):
        monkeypatch.setitem(BACKENDS, name, replace(backend, open_engine=refuse))


def member(name: str, data: bytes = b"", kind: bytes = tarfile.REGTYPE, target: str = "") -> Callable[..., None]:
    def add(archive: tarfile.TarFile) -> None:
        info = tarfile.TarInfo(name)
        info.type, info.size, info.linkname = kind, len(data), target
        archive.addfile(info, io.BytesIO(data))

    return add


def change_packed(bundle: Bundle, tmp_path: Path, *extra: Callable[..., None], mode: str = "w") -> Path:
    """The packed bundle with more members."""
    path = tmp_path / "changed.tar"
    with tarfile.open(pack(bundle, tmp_path / "whole.tar")) as old, tarfile.open(path, mode) as new:
        for info in old:
            new.addfile(info, old.extractfile(info))
        for add in extra:
            add(new)
    return path


def test_a_sound_bundle_opens(bundle: Bundle) -> None:
    assert bundle.labels == bundle.manifest.labels == tiny.LABELS
    bundle.check_all()
    assert Bundle.open(bundle) is bundle
    assert Bundle.open(str(bundle.path)).digest == bundle.digest
    assert bundle.name == "bundle"


DAMAGE = {
    "model missing": (lambda p: (p / "model.npz").unlink(), "'model.npz' is missing"),
    "manifest missing": (lambda p: (p / "manifest.json").unlink(), r"no bundle, it has no manifest\.json"),
    "manifest empty": (lambda p: (p / "manifest.json").write_bytes(b""), "not JSON"),
    "manifest truncated": (lambda p: os.truncate(p / "manifest.json", 500), "not JSON"),
    "model empty": (lambda p: (p / "model.npz").write_bytes(b""), "0 bytes, the manifest says"),
    "model truncated": (lambda p: os.truncate(p / "model.npz", 9), "9 bytes, the manifest says"),
    "file too many": (lambda p: (p / "golden/notes.txt").write_text("hm"), "'golden/notes.txt' is not in the manifest"),
    "link to a file": (lambda p: (p / "link").symlink_to("/etc/passwd"), "regular files only"),
    "link to a folder": (lambda p: (p / "link").symlink_to("/etc"), "regular files only"),
    "pipe": (lambda p: os.mkfifo(p / "pipe"), "regular files only"),
}


@pytest.mark.usefixtures("engine_is_never_asked")
@pytest.mark.parametrize("name", DAMAGE)
def test_a_damaged_folder_is_refused_when_it_is_opened(name: str, bundle: Bundle) -> None:
    damage, message = DAMAGE[name]
    damage(bundle.path)
    with pytest.raises(BundleError, match=message):
        Classifier.open(bundle.path)


def test_a_model_replaced_by_a_link_to_the_same_bytes_is_refused(bundle: Bundle, tmp_path: Path) -> None:
    shutil.move(bundle.path / "model.npz", tmp_path / "elsewhere")
    (bundle.path / "model.npz").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(BundleError, match="link"):
        Bundle.open(bundle.path)


@pytest.mark.parametrize("target", tiny.TARGETS)
def test_a_flipped_byte_is_found_before_the_engine_sees_it(
    target: str, shared_bundle: Callable[[str], Bundle], tmp_path: Path
) -> None:
    folder = tmp_path / "copy"
    shutil.copytree(shared_bundle(target).path, folder)
    model = folder / tiny.weights_file(target)
    data = bytearray(model.read_bytes())
    data[len(data) // 2] ^= 1
    model.write_bytes(data)
    with pytest.raises(BundleError, match=r"changed since the export \(SHA-256 differs\)"):
        open_session(folder)
    with pytest.raises(BundleError, match=model.name):
        verify(Bundle.open(folder))


@pytest.mark.usefixtures("engine_is_never_asked")
def test_verify_finds_a_flipped_byte_in_any_file_first(bundle: Bundle) -> None:
    for name in bundle.manifest.files:
        path = bundle.path / name
        whole = path.read_bytes()
        path.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
        with pytest.raises(BundleError, match=name):
            verify(Bundle.open(bundle.path))
        path.write_bytes(whole)


@pytest.mark.parametrize("data", [b"", b"garbage" * 40, b"PK\x03\x04" + b"\0" * 60])
@pytest.mark.parametrize("target", tiny.TARGETS)
def test_a_model_of_garbage_with_a_right_hash_is_a_bundle_error(
    target: str, data: bytes, shared_bundle: Callable[[str], Bundle], tmp_path: Path
) -> None:
    folder = tmp_path / "copy"
    shutil.copytree(shared_bundle(target).path, folder)
    (folder / tiny.weights_file(target)).write_bytes(data)
    with pytest.raises(BundleError):
        open_session(tiny.reseal(folder))


def test_an_openvino_model_in_another_format_is_refused_before_the_engine(
    shared_bundle: Callable[[str], Bundle], tmp_path: Path
) -> None:
    folder = tmp_path / "copy"
    shutil.copytree(shared_bundle("openvino").path, folder)
    (folder / "model.xml").write_bytes(tiny.onnx_linear(*tiny.linear_weights(0)).SerializeToString())
    with pytest.raises(BundleError, match="not an OpenVINO IR"):
        open_session(tiny.reseal(folder))


def test_arrays_that_need_pickle_or_lie_about_their_size_are_refused(bundle: Bundle) -> None:
    buffer = io.BytesIO()
    np.lib.format.write_array_header_1_0(buffer, {"descr": "<f4", "fortran_order": False, "shape": (1 << 60,)})
    outputs = bundle.path / "golden/outputs.npy"
    np.save(outputs, np.array([{"a": 1}], dtype=object))
    pickled = outputs.read_bytes()
    for data in (pickled, buffer.getvalue(), b"", b"\x93NUMPY", b"garbage"):
        outputs.write_bytes(data)
        with pytest.raises(BundleError, match="not a plain array"):
            tiny.reseal(bundle.path).read_array("golden/outputs.npy")


def test_a_file_off_the_list_can_not_be_read(bundle: Bundle) -> None:
    with pytest.raises(BundleError, match="lists no"):
        bundle.read("../../etc/passwd")


def test_missing_and_foreign_paths_say_what_they_are(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="no such bundle"):
        Bundle.open(tmp_path / "nowhere")
    with pytest.raises(BundleError, match="no bundle, it has no manifest"):
        Bundle.open(tmp_path)
    (tmp_path / "image.tar").write_bytes(b"\x89PNG" * 999)
    with pytest.raises(BundleError, match="not a packed bundle"):
        Bundle.open(tmp_path / "image.tar")
    for name, advice in (("net.onnx", "`edgeclf export` makes a bundle"), ("net.safetensors", "weights alone are no")):
        (tmp_path / name).write_bytes(b"\x89PNG" * 999)
        with pytest.raises(BundleError, match=advice):
            Bundle.open(tmp_path / name)


# -- packed


def test_a_packed_bundle_predicts_the_same(bundle: Bundle, tmp_path: Path) -> None:
    packed = Bundle.open(pack(bundle, tmp_path / "road.tar"))
    batch = tiny.random_pixels(5)
    with open_session(bundle) as folder, open_session(packed) as tar:
        assert np.array_equal(folder(batch), tar(batch))
    assert packed.digest == bundle.digest
    assert packed.name == "road"
    assert verify(packed).verdict == "pass"


def test_packing_is_deterministic(bundle: Bundle, tmp_path: Path) -> None:
    first = pack(bundle, tmp_path / "first.tar").read_bytes()
    for path in bundle.path.rglob("*"):
        os.utime(path, (1, 1))
        path.chmod(0o700)
    copy = shutil.copytree(bundle.path, tmp_path / "copy")
    assert pack(Bundle.open(copy), tmp_path / "second.tar").read_bytes() == first


def test_a_damaged_bundle_is_not_packed(bundle: Bundle, tmp_path: Path) -> None:
    model = bundle.path / "model.npz"
    model.write_bytes(model.read_bytes()[:-1] + b"\xff")
    with pytest.raises(BundleError, match="changed since the export"):
        pack(bundle, tmp_path / "road.tar")
    assert not (tmp_path / "road.tar").exists()


def test_packing_never_damages_the_bundle_itself(bundle: Bundle) -> None:
    for place in (bundle.path, bundle.path / "road.tar", bundle.path / "golden" / "road.tar"):
        with pytest.raises(UsageError, match="in the bundle itself"):
            pack(bundle, place, force=True)
    Bundle.open(bundle.path).check_all()


TARRED = {
    "..": (member("../evil", b"x"), "not in the manifest"),
    "absolute": (member("/etc/evil", b"x"), "not in the manifest"),
    "symbolic link": (member("link", kind=tarfile.SYMTYPE, target="/etc/passwd"), "link, folder or device"),
    "hard link": (member("link", kind=tarfile.LNKTYPE, target="model.npz"), "link, folder or device"),
    "folder": (member("golden", kind=tarfile.DIRTYPE), "link, folder or device"),
    "device": (member("null", kind=tarfile.CHRTYPE), "link, folder or device"),
    "pipe": (member("pipe", kind=tarfile.FIFOTYPE), "link, folder or device"),
    "sparse file": (member("hole", kind=tarfile.GNUTYPE_SPARSE), "link, folder or device|not a packed bundle"),
    "twice": (member("model.npz", b"x"), "'model.npz' is there twice"),
    "extra": (member("notes.txt", b"x"), "not in the manifest"),
}


@pytest.mark.usefixtures("engine_is_never_asked")
@pytest.mark.parametrize("name", TARRED)
def test_a_tar_with_anything_else_in_it_is_refused(name: str, bundle: Bundle, tmp_path: Path) -> None:
    add, message = TARRED[name]
    path = change_packed(bundle, tmp_path, add)
    with pytest.raises(BundleError, match=message):
        Classifier.open(path)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["bundle", "changed.tar", "whole.tar"]


@pytest.mark.parametrize("mode", ["w:gz", "w:bz2", "w:xz"])
def test_a_compressed_tar_is_refused(mode: str, bundle: Bundle, tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="not a packed bundle"):
        Bundle.open(change_packed(bundle, tmp_path, mode=mode))


def test_a_tar_truncated_anywhere_is_refused_or_whole(bundle: Bundle, tmp_path: Path) -> None:
    data = pack(bundle, tmp_path / "whole.tar").read_bytes()
    end_of_files = len(data.rstrip(b"\0"))
    for size in [0, 1, 100, 511, 512, 600, *range(1024, end_of_files, 1777), end_of_files - 1]:
        (tmp_path / "cut.tar").write_bytes(data[:size])
        with pytest.raises(BundleError):
            Bundle.open(tmp_path / "cut.tar").check_all()


def test_a_tar_with_flipped_bytes_is_refused_or_read_right(bundle: Bundle, tmp_path: Path) -> None:
    data = pack(bundle, tmp_path / "whole.tar").read_bytes()
    random = np.random.default_rng(0)
    refused = 0
    for _ in range(300):
        damaged = bytearray(data)
        header = int(random.integers(2)) * 512 * int(random.integers(len(data) // 512))
        damaged[header + int(random.integers(512))] = int(random.integers(256))
        (tmp_path / "flipped.tar").write_bytes(damaged)
        try:
            found = Bundle.open(tmp_path / "flipped.tar")
            found.check_all()
            assert found.manifest == bundle.manifest
        except BundleError:
            refused += 1
    assert refused > 100


def test_a_bundle_that_can_not_be_listed_is_refused(plain_user: Path) -> None:
    folder = plain_user / "bundle"
    folder.mkdir(mode=0)
    (plain_user / "road.tar").touch(mode=0)
    for path in (folder, plain_user / "road.tar"):
        with pytest.raises(BundleError):
            Bundle.open(path)


@pytest.mark.parametrize("packed", [False, True])
def test_a_bundle_that_is_replaced_while_it_is_read_is_not_called_damaged(packed: bool, tmp_path: Path) -> None:
    first, second = (tiny.build(tmp_path / f"seed-{seed}", seed=seed) for seed in (0, 1))
    place = tmp_path / ("b.tar" if packed else "b")

    def publish(bundle: Bundle) -> None:
        if packed:
            pack(bundle, place, force=True)
        else:
            with writing(place, force=True) as draft:
                shutil.copytree(bundle.path, draft)

    publish(first)
    opened = Bundle.open(place)
    publish(second)
    with pytest.raises(BundleError, match="was replaced or removed while it was read; run the command again"):
        opened.check_all()
    assert Bundle.open(place).digest == second.digest
