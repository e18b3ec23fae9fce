"""What `data check` finds: leaks, copies, look-alikes, labels that disagree, broken and odd files."""

from __future__ import annotations

import io
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageEnhance
from tiny import images, shipped

from edgeclf.data.check import Checked, check_source
from edgeclf.data.findings import Finding, find_faults
from edgeclf.data.likeness import find_alike
from edgeclf.data.split import open_data
from edgeclf.data.split_file import save_split
from edgeclf_runtime.images.likeness import describe

MakeFolder = Callable[[dict[str, int]], Path]
SPLIT = {"train/cat": 3, "train/dog": 3, "test/cat": 2, "test/dog": 2}


def verdicts(checked: Checked) -> dict[str, str]:
    """The gravest verdict on each subject."""
    grave = ["pass", "warning", "fault", "leak"]
    found: dict[str, str] = {}
    for each in find_faults(checked):
        found[each.subject] = max(each.verdict, found.get(each.subject, "pass"), key=grave.index)
    return found


def finding(checked: Checked, subject: str) -> Finding:
    return next(each for each in find_faults(checked) if each.subject == subject and each.verdict != "pass")


def test_a_clean_folder_passes(make_folder: MakeFolder) -> None:
    found = verdicts(check_source(make_folder({"train/cat": 10, "train/dog": 10, "val/cat": 1, "val/dog": 1})))
    assert set(found.values()) == {"pass"}


def test_the_same_pixels_in_two_splits_are_a_leak_even_in_another_file_format(make_folder: MakeFolder) -> None:
    root = make_folder(SPLIT)
    with Image.open(root / "train" / "cat" / "001.png") as image:
        image.save(root / "test" / "cat" / "other.bmp")
    checked = check_source(root)
    (pair,) = checked.leaks
    assert (pair.first.name, pair.second.name) == ("train/cat/001.png", "test/cat/other.bmp")
    assert finding(checked, "leakage").verdict == "leak"
    assert verdicts(checked)["labels"] == "pass"


def test_copies_in_one_split_are_a_warning(make_folder: MakeFolder) -> None:
    root = make_folder(SPLIT)
    shutil.copy(root / "train" / "cat" / "001.png", root / "train" / "cat" / "copy.png")
    found = verdicts(check_source(root))
    assert found["copies"] == "warning" and found["leakage"] == "pass"


def test_the_same_pixels_under_two_labels_are_a_fault(make_folder: MakeFolder) -> None:
    root = make_folder({"cat": 2, "dog": 2})
    shutil.copy(root / "cat" / "001.png", root / "dog" / "copy.png")
    checked = check_source(root)
    (pair,) = checked.conflicts
    assert {pair.first.label, pair.second.label} == {"cat", "dog"}
    assert finding(checked, "labels").verdict == "fault"


def test_a_group_in_two_splits_is_a_leak(make_folder: MakeFolder) -> None:
    root = make_folder(SPLIT)
    rows = ["path,label,split,group"]
    for path in sorted(root.rglob("*.png")):
        split, label, name = path.relative_to(root).parts
        rows.append(f"{split}/{label}/{name},{label},{split},{name if label == 'cat' else ''}")
    (root / "images.csv").write_text("\n".join(rows))
    assert "2 groups in more than one split" in finding(check_source(root / "images.csv"), "groups").text


def reencoded(image: Image.Image) -> Image.Image:
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=60)
    return Image.open(buffer).convert("RGB")


CHANGES: dict[str, Callable[[Image.Image], Image.Image]] = {
    "reencoded": reencoded,
    "half the size": lambda image: image.resize((image.width // 2, image.height // 2)),
    "stretched": lambda image: image.resize((image.width, image.height * 2)),
    "brighter": lambda image: ImageEnhance.Brightness(image).enhance(1.15),
    "less contrast": lambda image: ImageEnhance.Contrast(image).enhance(0.7),
    "grey": lambda image: image.convert("L").convert("RGB"),
    "mirrored": lambda image: image.transpose(Image.Transpose.FLIP_LEFT_RIGHT),
}


@pytest.mark.parametrize("change", CHANGES)
def test_look_alikes_across_splits_are_a_warning(make_folder: MakeFolder, change: str) -> None:
    root = make_folder(SPLIT)
    with Image.open(shipped("flower.jpg")) as photograph:
        photograph.save(root / "train" / "cat" / "photograph.png")
        CHANGES[change](photograph.convert("RGB")).save(root / "test" / "dog" / "alike.png")
    checked = check_source(root)
    (pair,) = checked.alike
    assert (pair.first.name, pair.second.name) == ("train/cat/photograph.png", "test/dog/alike.png")
    assert pair.crosses and pair.mirrored == (change == "mirrored")
    assert verdicts(checked)["look-alikes"] == "warning" and verdicts(checked)["leakage"] == "pass"


def test_different_crops_of_one_photograph_are_no_look_alikes() -> None:
    assert find_alike([describe(image) for image in images()]) == ([], False)


def test_images_of_one_colour_are_no_look_alikes() -> None:
    flat = [describe(Image.new("RGB", (20, 20), (level, level, level))) for level in range(0, 200, 20)]
    assert find_alike(flat) == ([], False)


def test_look_alikes_are_found_across_the_tiles_of_a_large_set() -> None:
    random = np.random.default_rng(0)
    likenesses = [describe(Image.fromarray(random.integers(0, 256, (8, 8, 3), dtype=np.uint8))) for _ in range(2500)]
    likenesses[2400] = likenesses[3]
    found, cut = find_alike(likenesses)
    assert (found[0].first, found[0].second, found[0].bits, found[0].correlation) == (3, 2400, 0, 1.0)
    assert not cut and len(found) < 5


def test_thousands_of_alike_images_do_not_fill_the_memory() -> None:
    (image,) = images(1)
    found, cut = find_alike([describe(image)] * 800)
    assert cut and 200_000 < len(found) < 2_000_000


def test_broken_files_are_listed_and_the_rest_is_checked(make_folder: MakeFolder) -> None:
    root = make_folder({"cat": 3, "dog": 3})
    (root / "cat" / "empty.png").write_bytes(b"")
    (root / "cat" / "text.jpg").write_text("not an image")
    data = (root / "dog" / "001.png").read_bytes()
    (root / "dog" / "half.png").write_bytes(data[: len(data) // 2])
    (root / "dog" / "loop.png").symlink_to("loop.png")
    (root / "dog" / "nowhere.png").symlink_to("gone.png")
    checked = check_source(root)
    assert {remark.path for remark in checked.unreadable} == {
        "cat/empty.png",
        "cat/text.jpg",
        "dog/half.png",
        "dog/loop.png",
        "dog/nowhere.png",
    }
    assert verdicts(checked)["decoding"] == "fault"
    assert "and 2 more" in finding(checked, "decoding").text


def test_odd_shapes_sizes_and_animations_are_a_warning(make_folder: MakeFolder) -> None:
    root = make_folder({"cat": 9, "dog": 9})
    Image.new("RGB", (300, 20), "red").save(root / "cat" / "long.png")
    Image.new("RGB", (4, 4), "red").save(root / "cat" / "small.png")
    frames = [Image.new("RGB", (24, 20), colour) for colour in ("red", "green")]
    frames[0].save(root / "dog" / "moves.gif", save_all=True, append_images=frames[1:])
    texts = {remark.path: remark.text for remark in check_source(root).odd}
    assert "longer than 4:1" in texts["cat/long.png"]
    assert "4x4 is small" in texts["cat/small.png"]
    assert texts["dog/moves.gif"] == "2 frames: the first is used"


def test_imbalance_and_tiny_classes_are_warnings(make_folder: MakeFolder) -> None:
    texts = [
        each.text for each in find_faults(check_source(make_folder({"cat": 43, "dog": 2}))) if each.subject == "classes"
    ]
    assert texts[0].startswith("22 images of 'cat' to one of 'dog' (over 20:1)")
    assert texts[1].startswith("classes of fewer than 10 images: 'dog' (2)")


def test_a_class_that_train_lacks_is_a_fault(make_folder: MakeFolder) -> None:
    checked = check_source(make_folder({"train/cat": 2, "train/dog": 2, "val/fox": 2}))
    assert finding(checked, "classes").text == "val has classes that train lacks: 'fox'"


def test_a_manifest_is_checked_with_its_hashes(make_folder: MakeFolder, tmp_path: Path) -> None:
    manifest = open_data(make_folder({"cat": 5, "dog": 5}))
    save_split(manifest, tmp_path / "split.json")
    assert check_source(tmp_path / "split.json").changed == ()
    images(1)[0].save(manifest.images[0].path)
    manifest.images[1].path.unlink()
    checked = check_source(tmp_path / "split.json")
    assert [remark.path for remark in checked.changed] == [manifest.images[0].name]
    assert [remark.path for remark in checked.unreadable] == [manifest.images[1].name]


def test_what_phones_write_is_counted_as_unreadable_with_its_kind(
    make_folder: MakeFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "pi_heif.as_plugin", None)
    monkeypatch.setattr("edgeclf_runtime.images.formats.find_spec", lambda name: None)
    root = make_folder({"cat": 12, "dog": 12})
    for name, brand in {
        "cat/a.heic": b"heic",
        "cat/b.HEIC": b"heic",
        "dog/c.jpg": b"heix",
        "dog/d.avif": b"avif",
    }.items():
        (root / name).write_bytes(b"\0\0\0\x14ftyp" + brand + bytes(200))
    (root / "dog" / "e.png").write_bytes(b"words")
    checked = check_source(root)
    assert len(checked.data.images) == 29
    found = finding(checked, "decoding")
    assert found.verdict == "fault"
    assert found.text.startswith(
        "5 images can't be read (3 HEIC, 1 AVIF): cat/a.heic: HEIC, as phones write it: install"
    )


def test_a_class_that_leaves_few_images_to_test_on_is_named_with_its_count(make_folder: MakeFolder) -> None:
    few = finding(check_source(make_folder({"cat": 40, "dog": 15})), "classes")
    assert few.verdict == "warning" and "fewer than 5 test images, 15 % of all: 'dog' (2)" in few.text


def test_balanced_classes_are_reported_with_the_smallest_count(make_folder: MakeFolder) -> None:
    (fine,) = [
        each for each in find_faults(check_source(make_folder({"cat": 40, "dog": 36}))) if each.subject == "classes"
    ]
    assert fine.verdict == "pass" and "the smallest, 'dog', has 36 images" in fine.text
