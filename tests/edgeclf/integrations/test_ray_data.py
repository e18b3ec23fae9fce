"""A bundle over a data set: the rows are those of the plain run, alone and on Ray's local cluster."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny

from edgeclf.integrations.ray_data import ClassifyWithBundle
from edgeclf_runtime.bundle.bundle import Bundle
from edgeclf_runtime.classifier import Classifier
from edgeclf_runtime.deploy.machine_proofs import save_proof
from edgeclf_runtime.deploy.verify import verify
from edgeclf_runtime.errors import GateError, UsageError


@pytest.fixture
def bundle(tmp_path: Path) -> Bundle:
    return tiny.build(tmp_path / "tiny")


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Eight images and a file that is none."""
    (tmp_path / "photos").mkdir()
    for number, image in enumerate(tiny.images()):
        image.save(tmp_path / f"photos/{number}.png")
    (tmp_path / "photos/broken.png").write_bytes(b"no image")
    return tmp_path / "photos"


def plain_rows(bundle: Bundle, photos: Path, top: int = 5) -> dict[str, tuple[Any, ...]]:
    with Classifier.open(bundle) as classifier:
        found = classifier.predict(sorted(photos.iterdir()), top=top)
        return {
            Path(each.source).name: (
                each.label or "",
                each.error or "",
                [score.label for score in each.scores],
                pytest.approx([score.probability for score in each.scores], rel=1e-4),
            )
            for each in found
        }


def column(values: list[Any]) -> Any:
    found = np.empty(len(values), dtype=object)
    found[:] = values
    return found


@pytest.mark.parametrize("name", ["bytes", "path"])
def test_a_batch_gets_the_predictions_of_the_plain_run(name: str, bundle: Bundle, photos: Path) -> None:
    files = sorted(photos.iterdir())
    batch = {"path": np.array(list(map(str, files))), "key": np.arange(len(files))}
    if name == "bytes":
        batch["bytes"] = column([path.read_bytes() for path in files])
    rows = ClassifyWithBundle(str(bundle.path), column=name, batch_size=4)(batch)
    assert list(rows) == ["path", "key", "label", "unknown_by", "error", "labels", "scores"]
    found = zip(*(rows[each] for each in ("label", "error", "labels", "scores")), strict=True)
    assert dict(zip((path.name for path in files), found, strict=True)) == plain_rows(bundle, photos)


def test_arrays_and_pil_images_are_images_too_and_top_bounds_the_lists(bundle: Bundle) -> None:
    arrays = [np.asarray(image) for image in tiny.images()]
    rows = ClassifyWithBundle(str(bundle.path), top=1)({"image": np.stack(arrays)})
    with Classifier.open(bundle) as classifier:
        assert list(rows["label"]) == [each.label for each in classifier.predict(arrays)]
    opened = ClassifyWithBundle(str(bundle.path))({"image": column(list(tiny.images()))})
    assert list(opened["label"]) == list(rows["label"])
    assert [len(scores) for scores in rows["scores"]] == [1] * 8


def test_a_bundle_whose_proof_failed_here_is_refused_unless_unproven(bundle: Bundle, photos: Path) -> None:
    wrong = tiny.replace_weights(bundle.path, seed=1)
    save_proof(wrong, verify(wrong))
    with pytest.raises(GateError, match="failed its proof on this machine"):
        ClassifyWithBundle(str(wrong.path))
    with pytest.warns(UserWarning, match="^FAILED"):
        classify = ClassifyWithBundle(str(wrong.path), unproven=True)
    assert classify({"path": np.array([str(photos / "0.png")])})["label"][0]


def test_a_batch_without_images_is_refused(bundle: Bundle) -> None:
    with pytest.raises(UsageError, match="wanted a column bytes or image or path, found text"):
        ClassifyWithBundle(str(bundle.path))({"text": np.array(["a"])})
    with pytest.raises(UsageError, match="no column 'picture'; choose one of bytes, image, path"):
        ClassifyWithBundle(str(bundle.path), column="picture")


def test_a_cell_that_is_no_image_costs_its_own_row(bundle: Bundle, photos: Path) -> None:
    image_path = str(photos / "0.png")
    rows = ClassifyWithBundle(str(bundle.path))(
        {"path": column([str(photos), image_path, None, "nowhere.png", image_path])}
    )
    assert [label != "" for label in rows["label"]] == [False, True, False, False, True]
    assert list(rows["error"]) == [
        "a folder, not an image",
        "",
        "wanted bytes, an array, a PIL image or a path, found NoneType",
        "No such file or directory",
        "",
    ]


@pytest.mark.parametrize("how", [{"top": 0}, {"batch_size": 0}, {"threshold": 7.0}])
def test_invalid_options_are_refused_before_the_first_batch(how: dict[str, Any], bundle: Bundle) -> None:
    with pytest.raises(UsageError, match="found"):
        ClassifyWithBundle(str(bundle.path), **how)


def test_usage_statistics_are_off() -> None:
    assert os.environ["RAY_USAGE_STATS_ENABLED"] == "0"


@pytest.mark.slow
def test_two_workers_of_a_cluster_give_the_rows_of_the_plain_run(bundle: Bundle, photos: Path) -> None:
    ray = pytest.importorskip("ray", reason="ray is not installed: pip install 'edgeclf[ray]'")
    pytest.importorskip("ray.data", reason="Ray Data is not installed: pip install 'edgeclf[ray]'")
    ray.init(num_cpus=3, include_dashboard=False, log_to_driver=False)  # two workers, and one to read
    try:
        from ray._common.usage import usage_lib

        assert not usage_lib.usage_stats_enabled()
        images = ray.data.read_binary_files(str(photos), include_paths=True)
        workers = ray.data.ActorPoolStrategy(size=2)
        rows = images.map_batches(
            ClassifyWithBundle, fn_constructor_args=(str(bundle.path),), compute=workers, num_cpus=1, batch_size=3
        ).take_all()
    finally:
        ray.shutdown()
    found = {
        Path(row["path"]).name: (row["label"], row["error"], list(row["labels"]), list(row["scores"])) for row in rows
    }
    assert found == plain_rows(bundle, photos)
    assert set(rows[0]) == {"path", "label", "unknown_by", "error", "labels", "scores"}


class DiesOnce(ClassifyWithBundle):
    """The first worker that gets a batch is killed in the middle of it."""

    def __init__(self, bundle: str, mark: str) -> None:
        super().__init__(bundle)
        self._mark = Path(mark)

    def __call__(self, batch: Any) -> Any:
        if not self._mark.exists():
            self._mark.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return super().__call__(batch)


@pytest.mark.slow
def test_a_worker_that_is_killed_in_a_batch_is_started_again_and_no_row_is_lost(
    bundle: Bundle, photos: Path, tmp_path: Path
) -> None:
    ray = pytest.importorskip("ray", reason="ray is not installed: pip install 'edgeclf[ray]'")
    pytest.importorskip("ray.data", reason="Ray Data is not installed: pip install 'edgeclf[ray]'")
    ray.cloudpickle.register_pickle_by_value(sys.modules[__name__])  # workers can't import this file
    ray.init(num_cpus=3, include_dashboard=False, log_to_driver=False)
    mark = tmp_path / "killed"
    try:
        images = ray.data.read_binary_files(str(photos), include_paths=True)
        rows = images.map_batches(
            DiesOnce,
            fn_constructor_args=(str(bundle.path), str(mark)),
            compute=ray.data.ActorPoolStrategy(size=2),
            num_cpus=1,
            batch_size=3,
        ).take_all()
    finally:
        ray.shutdown()
    assert mark.exists()
    wanted = {name: (label, error) for name, (label, error, *_) in plain_rows(bundle, photos).items()}
    assert sorted((Path(row["path"]).name, (row["label"], row["error"])) for row in rows) == sorted(wanted.items())
