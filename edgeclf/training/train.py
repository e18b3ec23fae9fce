"""From labelled images to a run: `train` starts one, `resume` ends one that was interrupted."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edgeclf.data.bit_depth import deep_images, highest_stored
from edgeclf.data.split import copies_across_splits, split_faults
from edgeclf.data.stats import data_normalization, measure
from edgeclf.training.adaptation.leakage import keep_adapted, seen_in_adaptation
from edgeclf.training.config import TrainConfig, phases_of
from edgeclf.training.distributed import Processes
from edgeclf.training.loop.context import TrainingContext
from edgeclf.training.loop.device import choose_device
from edgeclf.training.loop.trainer import Trainer
from edgeclf.training.run.checkpoint import Checkpoint, copy_state, load_checkpoint, save_tensors
from edgeclf.training.run.left_out import leave_out_unusable
from edgeclf.training.run.plot import draw_curves
from edgeclf.training.run.run import CHECKPOINT, MODEL, WEIGHTS, Outcome, Run
from edgeclf.training.run.tensorboard import check_logger
from edgeclf.training.waiting import waiting_share
from edgeclf_export.sources.trained import load_for_training, rebuild
from edgeclf_runtime.bundle.atomic_write import writing
from edgeclf_runtime.bundle.dataclass_json import to_json
from edgeclf_runtime.errors import DataError, GateError, UsageError
from edgeclf_runtime.images.data_split import DataSplit
from edgeclf_runtime.metrics.temperature import fit_temperature
from edgeclf_runtime.progress import SILENT, Progress

_SCRATCH_NEEDS, _GENTLE_LR, _LONG_WAIT, _SAMPLED = 100_000, 1e-4, 0.2, 16


def train(
    config: TrainConfig,
    data: DataSplit,
    path: Path,
    progress: Progress = SILENT,
    processes: Processes = Processes(),
    *,
    strict: bool = False,
) -> Run:
    """Trains a backbone on the training images and keeps what validates best in the run folder `path`.

    Images that can't be used are left out, with a warning that counts them. Several processes call it with the same
    arguments, each with its own `processes`; the first one writes.

    Raises
    ------
    UsageError
        The folder holds a run, or the config contradicts itself.
    DataError
        A split is empty, more than half of the images (`strict`: any) can't be used, or the weights are not available.
    GateError
        The loss is NaN or infinite; where an epoch was good before, the run is whole and keeps it.
    """
    Run.check_free(path)
    check_logger(config.logger)
    if faults := split_faults(data.images):
        raise DataError(f"{data.root}: {faults[0]}")
    _warn(config, data, progress)
    architecture, module = load_for_training(
        config.model,
        config.weights,
        labels=data.classes,
        img_size=config.img_size,
        seed=config.seed,
        value_range=config.value_range,
    )
    usable, left_out = leave_out_unusable(
        data, config.value_range, strict=strict, processes=processes, progress=progress
    )
    if config.normalize == "data":
        measured = measure(usable, config.value_range)
        architecture = replace(architecture, normalization=data_normalization(measured, architecture.normalization))
    context = TrainingContext(config, usable, architecture, module, choose_device(config.device, processes), processes)
    run = Run(path)
    processes.wait()  # all have seen that the folder is free
    with _held(run, processes):  # whatever can be checked has been checked by here
        start = Checkpoint(0, 0, copy_state(module), {}, processes=processes.size)
        if processes.is_first:
            Run.create(path, config, data, architecture, start, left_out)
            keep_adapted(run, config.weights)
        return _finish(Trainer(run, context, start, progress))


def resume(path: Path, progress: Progress = SILENT, processes: Processes = Processes(), *, strict: bool = False) -> Run:
    """Ends an interrupted training, bit for bit as it would have ended on the same CPU with as many processes.

    Images that can't be used any more are left out (`strict`: raise DataError); then the result is not bit-identical.
    """
    return _go_on(path, progress, processes, strict=strict, finish=False)


def finish(path: Path, progress: Progress = SILENT, processes: Processes = Processes(), *, strict: bool = False) -> Run:
    """Ends an interrupted training here: its best epoch so far is kept, as if it had been the last but one to train.

    Raises UsageError where it has ended already, DataError where no epoch has.
    """
    return _go_on(path, progress, processes, strict=strict, finish=True)


def _go_on(path: Path, progress: Progress, processes: Processes, *, strict: bool, finish: bool) -> Run:
    run = Run.open(path)
    if run.finished:
        raise UsageError(f"{path}: its training has ended; export it with `edgeclf export {path}`")
    config, architecture = run.config(), run.architecture()
    with _held(run, processes):
        checkpoint = load_checkpoint(path / CHECKPOINT)
        if checkpoint.processes != processes.size:
            progress.warn(
                f"processes so far: {checkpoint.processes}, from here on: {processes.size}; it goes on, but the "
                "result will not be bit-identical"
            )
            checkpoint.processes = processes.size
        if finish and not checkpoint.best:
            raise DataError(f"{path}: no epoch has ended yet; go on with `edgeclf train --resume {path}`")
        module = rebuild(architecture, checkpoint.weights)
        known = run.left_out()
        data, left_out = leave_out_unusable(
            run.data(), config.value_range, strict=strict, known=known, processes=processes, progress=progress
        )
        context = TrainingContext(
            config, data, architecture, module, choose_device(config.device, processes), processes
        )
        processes.wait()  # all have read the checkpoint
        if processes.is_first:
            run.write_history(checkpoint)
            if left_out != known:
                run.write_left_out(left_out)
        if finish:
            checkpoint.phase = len(phases_of(config))
        return _finish(Trainer(run, context, checkpoint, progress), cut_short=finish)


def _held(run: Run, processes: Processes) -> AbstractContextManager[None]:
    """The folder, held by the first process for all of them."""
    return run.alone() if processes.is_first else nullcontext()


def _finish(trainer: Trainer, *, cut_short: bool = False) -> Run:
    _introduce(trainer)
    diverged = None
    try:
        trainer.run_all()
    except GateError as error:
        if not trainer.checkpoint.best:
            raise
        diverged = error
    logits = trainer.best_val_logits()
    if trainer.context.processes.is_first:
        _write_outcome(trainer, logits, cut_short=cut_short)
    trainer.context.processes.wait()  # whoever leaves with an error sooner ends the one that writes
    if diverged is not None:
        run, best = trainer.run, trainer.checkpoint.best_epoch
        raise GateError(f"{diverged}; {run.path} keeps the best epoch before, {best}, and can be exported")
    return trainer.run


def _introduce(trainer: Trainer) -> None:
    context, processes = trainer.context, trainer.context.processes
    if not processes.is_first:
        return
    learning, total = _count_parameters(trainer)
    together = f", in {processes.size} processes" if processes.size > 1 else ""
    trainer.progress.note(
        f"{trainer.run.architecture().backbone}: {total:,} parameters, {learning:,} of them learn in the first phase; "
        f"{len(context.train)} training and {len(context.val)} validation images on {context.device}{together}"
    )
    if processes.size > 1 and context.learns_batch_norm and not context.syncs_batch_norm:
        trainer.progress.note(
            "BatchNorm normalises each process's images by themselves, as it can't be synchronised on a cpu; its "
            "statistics are averaged after each epoch"
        )


def _write_outcome(trainer: Trainer, logits: NDArray[np.float32], *, cut_short: bool) -> None:
    run, context, state = trainer.run, trainer.context, trainer.checkpoint
    best = state.history[state.best_epoch - 1]
    with writing(run.path / WEIGHTS, force=True) as draft:
        save_tensors(state.best, draft)
    run.become_newest()
    with writing(run.path / "curves.png", force=True) as draft:
        title = f"{run.name}: {run.config().model}, {len(context.train):,} training images"
        draw_curves(state.history, draft, title=title, best_epoch=state.best_epoch)
    fit = fit_temperature(logits, context.val.labels)
    outcome = Outcome(
        best_epoch=state.best_epoch,
        training_seconds=round(state.seconds, 1),
        training_images=len(context.train),
        data_sha256=run.data().digest,
        scores={name: value for name, value in best.items() if name.startswith("val_")},
        waiting_share=waiting_share(state.history),
        temperature=fit.temperature,
        temperature_fit=fit,
        cut_short=cut_short,
    )
    run.write_json(MODEL, to_json(outcome))
    trainer.progress.note(str(fit))
    if fit.caution is not None:
        trainer.progress.warn(fit.caution)
    if (share := outcome.waiting_share) is not None:
        remedy = "; more --workers, smaller files or --image-cache on may help" if share > _LONG_WAIT else ""
        trainer.progress.note(f"waiting for images took {share:.0%} of the time of the training steps{remedy}")


def _count_parameters(trainer: Trainer) -> tuple[int, int]:
    """(parameters that learn in the first phase, all parameters)"""
    network = trainer.context.network
    total = sum(p.numel() for p in network.module.parameters())
    head = sum(p.numel() for p in network.head_parameters)
    return (head if phases_of(trainer.config)[0].on_features else total), total


def _warn(config: TrainConfig, data: DataSplit, progress: Progress) -> None:
    images = len(data.of("train"))
    if config.from_scratch and images < _SCRATCH_NEEDS:
        progress.warn(
            f"training from scratch on {images} images: below {_SCRATCH_NEEDS:,} pretrained weights are mostly better"
        )
    whole_lr = config.peak_lr / 10 if config.strategy == "discriminative" else config.peak_lr
    if not config.from_scratch and config.strategy != "linear-probe" and whole_lr > _GENTLE_LR:
        progress.warn(
            f"a rate of {whole_lr:g} for a pretrained backbone: above {_GENTLE_LR:g} it forgets its pretraining"
        )
    if config.class_weights != "none" and config.sampler == "weighted":
        progress.warn("--class-weights beside --sampler weighted counts the rare classes twice: choose one")
    for option, why in _without_effect(config):
        progress.warn(f"{option} has no effect {why}")
    if config.value_range is None:
        trained = data.of("train")
        sample = trained[:: max(1, len(trained) // _SAMPLED)]
        deep = deep_images(highest_stored(image.path) for image in sample)
        if deep.value_range is not None:
            progress.warn(f"of {len(sample)} training images {deep}")
    for sentence in (*config.switches.warnings(), *seen_in_adaptation(config.weights, data)):
        progress.warn(sentence)
    if copies := copies_across_splits(data):
        progress.warn(
            f"{copies} images lie in more than one split, so figures are optimistic; `edgeclf data check` lists them"
        )


def _without_effect(config: TrainConfig) -> Iterator[tuple[str, str]]:
    """Options that were given and change nothing, each with the reason."""
    usual = TrainConfig(model="")
    if config.strategy == "linear-probe":
        why = "with --strategy linear-probe, which computes the features of each image once, without augmentation"
        if config.mixup or config.cutmix:
            yield "--mixup" if config.mixup else "--cutmix", why
        if config.switches.any:
            yield "an augmentation such as --rotate", why
    if config.loss != "focal" and config.focal_gamma != usual.focal_gamma:
        yield "--focal-gamma", "without --loss focal"
    if config.optimizer != "sgd" and config.momentum != usual.momentum:
        yield "--momentum", "without --optimizer sgd"
    if config.schedule == "plateau" and config.warmup_epochs != usual.warmup_epochs:
        yield "--warmup-epochs", "with --schedule plateau"
