"""From unlabelled images to weights adapted to them: `adapt` starts it, `resume` ends one that was interrupted.

VICReg, written out: lightly, the library for such methods, would bring pytorch-lightning, hydra and aiohttp, fourteen
packages for a loss of a dozen lines; pytorch-metric-learning has the loss alone, without its terms.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from edgeclf.data.usable import left_out_sentence
from edgeclf.training.adaptation.folder import Adaptation, AdaptConfig
from edgeclf.training.adaptation.learner import NO_CLASSES, AdaptationLearner
from edgeclf.training.adaptation.unlabelled import Unlabelled
from edgeclf.training.adaptation.vicreg import Spread
from edgeclf.training.adaptation.views import TwoViews
from edgeclf.training.inputs.batches import TrainingBatches, dead_workers_named
from edgeclf.training.run.checkpoint import Checkpoint, copy_state, load_checkpoint, save_tensors
from edgeclf.training.run.run import CHECKPOINT
from edgeclf_export.sources.adapted import Adapted, header_of, shortened
from edgeclf_export.sources.trained import Architecture, load_for_training
from edgeclf_runtime.backends.torch_module import build_module
from edgeclf_runtime.bundle.atomic_write import writing
from edgeclf_runtime.errors import DataError, GateError, UsageError
from edgeclf_runtime.machine.facts import now_utc
from edgeclf_runtime.progress import SILENT, Progress


def adapt(config: AdaptConfig, images: Unlabelled, path: Path, progress: Progress = SILENT) -> Adaptation:
    """Adapts a backbone to the images and leaves its weights, without a head, in the folder `path`.

    Raises
    ------
    UsageError
        The folder holds an adaptation or a run, or the backbone is more than features and a linear head.
    DataError
        There are fewer images than a batch has, or the weights are not available.
    GateError
        The embeddings collapsed, or the loss is not a number: no weights are left.
    """
    Adaptation.check_free(path)
    _check_images(config, images)
    if images.broken:
        progress.warn(_left_out(images))
    architecture, module = load_for_training(
        config.model,
        config.weights,
        labels=NO_CLASSES,
        img_size=config.img_size,
        seed=config.seed,
        value_range=config.value_range,
    )
    learner = AdaptationLearner(config, architecture, module)
    made = Adaptation(path)
    with made.alone():
        start = Checkpoint(0, 0, copy_state(learner.parts), {})
        Adaptation.create(path, config, images, architecture, start)
        return _finish(made, config, images, architecture, learner, start, progress)


def resume(path: Path, progress: Progress = SILENT) -> Adaptation:
    """Ends an interrupted adaptation, bit for bit as it would have ended on the same CPU."""
    made = Adaptation.open(path)
    if made.finished:
        raise UsageError(f"{path}: its adaptation has ended; train with `edgeclf train DATA --weights {path}`")
    config, images, architecture = made.config(), made.images(), made.architecture()
    with made.alone():
        there = images.read_again(config.value_range)
        if there.broken != images.broken:
            _check_images(config, there)
            progress.warn(f"{_left_out(there)}; it goes on without them, so the result will not be bit-identical")
            made.write_images(there)
        images, checkpoint = there, load_checkpoint(path / CHECKPOINT)
        learner = AdaptationLearner(config, architecture, build_module(architecture.builder))
        learner.parts.load_state_dict(checkpoint.weights)
        made.write_history(checkpoint)
        return _finish(made, config, images, architecture, learner, checkpoint, progress)


def _finish(
    made: Adaptation,
    config: AdaptConfig,
    images: Unlabelled,
    architecture: Architecture,
    learner: AdaptationLearner,
    state: Checkpoint,
    progress: Progress,
) -> Adaptation:
    progress.note(
        f"{architecture.backbone}: {learner.parameters:,} parameters, no labels; {len(images.training_images)} images "
        f"of {images.data.name} on {learner.device}"
    )
    batches = TrainingBatches(
        images.training_images,
        architecture.pixels,
        TwoViews(architecture.pixels, config.seed, hflip=config.hflip, vflip=config.vflip),  # type: ignore[arg-type]
        batch_size=config.batch_size,
        seed=config.seed,
        weighted=False,
        workers=config.processes,
    )
    learner.start(len(images.training_images) // config.batch_size, state)
    while state.epoch < config.epochs:
        progress.step(f"adapt {state.epoch + 1}/{config.epochs}", learner.steps)
        begun = time.perf_counter()
        with dead_workers_named():
            record = learner.train_epoch(state.epoch, batches, progress)
        seconds = time.perf_counter() - begun
        seen = learner.steps * config.batch_size
        record |= {"seconds": round(seconds, 3), "images_per_s": round(seen / seconds, 1)}
        state.end_epoch(record, seconds)
        learner.store(state)
        made.save(state)
        progress.note(_epoch_line(record), record)
    _refuse_collapse(made, state.history)
    last = state.history[-1]
    adapted = Adapted(
        backbone=architecture.backbone,
        weights=architecture.weights,
        img_size_px=architecture.pixels.crop_px,
        data=images.data.name,
        images=len(images.training_images),
        epochs=config.epochs,
        seed=config.seed,
        seconds=round(state.seconds, 1),
        embedding_std=last["embedding_std"],
        embedding_rank=last["embedding_rank"],
        created_utc=now_utc(),
        image_hashes=shortened(image.sha256 for image in images.data.images),
    )
    with writing(made.weights, force=True) as draft:
        save_tensors(learner.backbone_state(), draft, header_of(adapted))
    made.write_outcome(adapted)
    return made


def _check_images(config: AdaptConfig, images: Unlabelled) -> None:
    """Raises DataError where they do not make a batch."""
    if len(images.training_images) < config.batch_size:
        raise DataError(
            f"{images.data.root}: {len(images.training_images)} images that can be read, fewer than a batch of "
            f"{config.batch_size}; give a smaller --batch-size, or more images"
        )


def _left_out(images: Unlabelled) -> str:
    return f"{left_out_sentence(images.broken, len(images.broken) + len(images.training_images))}; they are left out"


def _refuse_collapse(made: Adaptation, history: list[dict[str, Any]]) -> None:
    """Raises GateError where the embeddings of the last epoch are nearly the same for all images."""
    last = history[-1]
    if Spread(last["embedding_std"], last["embedding_rank"]).collapsed:
        raise GateError(
            f"the embeddings collapsed (standard deviation {last['embedding_std']:.3f}, wanted 1; "
            f"{last['embedding_rank']:.1f} dimensions in use), no weights are left in {made.path}; try a lower --lr, "
            "a larger --batch-size, or more varied images, and another --output"
        )


def _epoch_line(record: Mapping[str, Any]) -> str:
    terms = "  ".join(f"{name} {record[name]:.3f}" for name in ("loss", "invariance", "variance", "covariance"))
    spread = f"embeddings: std {record['embedding_std']:.3f}, {record['embedding_rank']:.0f} dimensions"
    return f"{record['epoch']:5d}  lr {record['lr']:.1e}  {terms}  {spread}  {record['seconds']:.1f} s"
