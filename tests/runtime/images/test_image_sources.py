"""Where images come from: files of any name, folders with other things in them, file objects, arrays."""

from __future__ import annotations

import io
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny
from numpy.typing import NDArray
from PIL import Image

from edgeclf_runtime.errors import DataError, ImageError
from edgeclf_runtime.images.decode import decode, find_images


def levels(source: Any, **options: Any) -> NDArray[np.uint8]:
    image = decode(source, **options).image
    assert image.mode == "RGB"
    return np.asarray(image)


def photograph() -> Image.Image:
    return tiny.images(1)[0]


def ramp16() -> NDArray[np.uint16]:
    """(64, 64) uint16 over the whole range."""
    return np.linspace(0, 65535, 64 * 64).round().astype(np.uint16).reshape(64, 64)


def test_decoding_leaves_the_callers_warning_filters_alone() -> None:
    script = (
        "import warnings, sys; from edgeclf_runtime.images.decode import decode; before = list(warnings.filters)\n"
        "from concurrent.futures import ThreadPoolExecutor\n"
        "data = sys.stdin.buffer.read()\n"
        "with ThreadPoolExecutor(8) as pool: list(pool.map(decode, [data] * 400))\n"
        "assert warnings.filters == before, 'a filter stayed behind'\n"
    )
    data = tiny.encoded(photograph(), "PNG")
    subprocess.run([sys.executable, "-c", script], input=data, check=True)


# -- files and folders


def test_other_files_are_passed_over_and_counted(tmp_path: Path) -> None:
    for name in ("b.jpg", "A.JPEG", "sub/c.png", "notes.txt", ".DS_Store", "Thumbs.db", "sub/._c.png", "noextension"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"x")
    found, others = find_images(tmp_path)
    assert [path.relative_to(tmp_path).as_posix() for path in found] == ["A.JPEG", "b.jpg", "sub/c.png"]
    assert others == 5


@pytest.mark.parametrize(
    "path",
    [
        ".ipynb_checkpoints/a-checkpoint.jpg",
        "sub/.thumbnails/a.png",
        "@eaDir/a.jpg/SYNOPHOTO_THUMB_XL.jpg",
        "sub/SYNOPHOTO_THUMB_M.jpg",
        "__MACOSX/sub/a.jpg",
        ".git/a.png",
        "#recycle/a.png",
    ],
)
def test_hidden_folders_and_copies_of_other_programs_hold_no_images(path: str, tmp_path: Path) -> None:
    (tmp_path / path).parent.mkdir(parents=True)
    for name in (path, "kept.jpg"):
        (tmp_path / name).write_bytes(b"x")
    found, others = find_images(tmp_path)
    assert ([found_path.name for found_path in found], others) == (["kept.jpg"], 1)


def test_a_hidden_folder_that_was_named_is_searched(tmp_path: Path) -> None:
    (tmp_path / ".inbox").mkdir()
    (tmp_path / ".inbox" / "a.jpg").write_bytes(b"x")
    assert len(find_images(tmp_path / ".inbox")[0]) == 1


@pytest.mark.parametrize("name", ["żółć 图片.jpg", "two  spaces.jpg", "new\nline.jpg", "sur\udcffrogate.jpg", "-n.jpg"])
def test_any_file_name_can_be_found_and_read(name: str, tmp_path: Path) -> None:
    with open(os.fsencode(tmp_path / name), "wb") as file:
        file.write(tiny.encoded(photograph()))
    (path,), _ = find_images(tmp_path)
    assert path.name == name
    assert decode(path).image.size == photograph().size


def test_a_symlink_loop_ends(tmp_path: Path) -> None:
    (tmp_path / "self.jpg").symlink_to("self.jpg")
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "up").symlink_to(tmp_path, target_is_directory=True)
    found, others = find_images(tmp_path)
    assert ([path.name for path in found], others) == (["self.jpg"], 1)
    with pytest.raises(ImageError, match="symbolic links"):
        decode(found[0])


def test_an_unreadable_file_is_reported_with_the_reason(plain_user: Path) -> None:
    path = plain_user / "secret.jpg"
    path.write_bytes(b"secret")
    path.chmod(0)
    with pytest.raises(ImageError, match="Permission denied"):
        decode(path)


def test_an_unreadable_folder_is_an_error_not_an_empty_one(plain_user: Path) -> None:
    (plain_user / "locked").mkdir(mode=0)
    with pytest.raises(DataError, match="locked: Permission denied"):
        find_images(plain_user)


def test_a_named_pipe_does_not_hang(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.jpg")
    script = "import sys; from edgeclf_runtime.images.decode import decode; decode(sys.argv[1])"
    command = [sys.executable, "-c", script, tmp_path / "pipe.jpg"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert "ImageError: not a regular file" in done.stderr


@pytest.mark.parametrize("path", ["missing.jpg", "nul\0byte.jpg", ".", "x" * 300 + ".jpg"])
def test_a_path_that_can_not_be_read_is_an_image_error(path: str) -> None:
    with pytest.raises(ImageError):
        decode(path)


def test_file_objects_work_and_wrong_ones_are_named(tmp_path: Path) -> None:
    data = tiny.encoded(photograph())
    assert np.array_equal(levels(io.BytesIO(data)), levels(data))
    with pytest.raises(ImageError, match="binary mode"):
        decode(io.StringIO("text"))
    closed = io.BytesIO(data)
    closed.close()
    with pytest.raises(ImageError, match="closed file"):
        decode(closed)


# -- arrays


def test_bgr_arrays_give_the_same_as_rgb() -> None:
    rgb = np.asarray(photograph())
    assert np.array_equal(levels(rgb), rgb)
    assert np.array_equal(levels(rgb[:, :, ::-1], channels="bgr"), rgb)
    with_alpha = np.dstack([rgb[:, :, ::-1], np.full(rgb.shape[:2], 255, np.uint8)])
    assert np.array_equal(levels(with_alpha, channels="bgr"), rgb)


def test_grey_and_one_channel_arrays_work() -> None:
    grey = np.asarray(photograph().convert("L"))
    assert np.array_equal(levels(grey), np.dstack([grey] * 3))
    assert np.array_equal(levels(grey[:, :, None]), np.dstack([grey] * 3))


def test_uint16_arrays_are_scaled_as_files_are() -> None:
    values = ramp16()
    assert np.array_equal(levels(values)[:, :, 0], np.rint(values / 257))
    assert np.array_equal(levels(np.dstack([values] * 3))[:, :, 2], np.rint(values / 257))
    assert levels(values // 16, value_range=(0, 4095)).max() == 255


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.int32, np.int8, bool, object])
def test_other_dtypes_are_refused_by_name(dtype: Any) -> None:
    with pytest.raises(ImageError, match=f"found {np.dtype(dtype)}"):
        decode(np.zeros((4, 4, 3), dtype))


@pytest.mark.parametrize("shape", [(), (4,), (4, 4, 2), (4, 4, 5), (0, 4, 3), (1, 4, 4, 3)])
def test_other_shapes_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ImageError, match="found shape"):
        decode(np.zeros(shape, np.uint8))


def test_the_array_given_is_not_changed_nor_kept() -> None:
    given = np.array(photograph())
    before = given.copy()
    image = decode(given).image
    given[:] = 0
    assert np.array_equal(np.asarray(image), before)
