"""From labelled images to a run: `train` starts one, `resume` ends one that was interrupted."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from pathlib import Path

from edgeclf.data.split import split_faults
from edgeclf.data.stats import data_normalization, measure
from edgeclf.data.usable import Unreadable
from edgeclf.training.adaptation.leakage import keep_adapted
from edgeclf.training.cautions import warn_of_risks
from edgeclf.training.config import TrainConfig, phases_of
from edgeclf.training.distributed import Processes
from edgeclf.training.loop.context import TrainingContext
from edgeclf.training.loop.device import choose_device
from edgeclf.training.loop.trainer import Trainer
from edgeclf.training.result import write_outcome
from edgeclf.training.run.checkpoint import Checkpoint, copy_state, load_checkpoint
from edgeclf.training.run.left_out import leave_out_unusable
from edgeclf.training.run.run import CHECKPOINT, Run
from edgeclf.training.run.tensorboard import check_logger
from edgeclf.training.task import check_task
from edgeclf.training.teaching import Lessons, begin_lessons, describe_lessons, resume_lessons
from edgeclf_export.sources.trained import load_for_training, rebuild
from edgeclf_runtime.errors import DataError, GateError, UsageError
from edgeclf_runtime.images.data_split import DataSplit
from edgeclf_runtime.progress import SILENT, Progress


def train(
    config: TrainConfig,
    data: DataSplit | None,
    path: Path,
    progress: Progress = SILENT,
    processes: Processes = Processes(),
    *,
    strict: bool = False,
) -> Run:
    """Trains a backbone on the training images and keeps what validates best in the run folder `path`.

    Without `data` a teacher's predictions for `config.unlabelled` take the place of labels (`TrainConfig.teacher`).
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
    with begin_lessons(config, data, processes, progress) as lessons:
        return _train(config, lessons, path, progress, processes, strict=strict)


def _train(
    config: TrainConfig, lessons: Lessons, path: Path, progress: Progress, processes: Processes, *, strict: bool
) -> Run:
    data = lessons.data
    if faults := split_faults(data.images):
        raise DataError(f"{data.root}: {faults[0]}")
    check_task(config, data, progress)
    warn_of_risks(config, data, progress)
    architecture, module = load_for_training(
        config.model,
        config.weights,
        labels=data.classes,
        img_size=config.img_size,
        seed=config.seed,
        value_range=config.value_range,
    )
    usable: DataSplit = data
    left_out: tuple[Unreadable, ...] = ()
    if not lessons.checked:
        usable, left_out = leave_out_unusable(
            data, config.value_range, strict=strict, processes=processes, progress=progress
        )
    if config.normalize == "data":
        measured = measure(usable, config.value_range)
        architecture = replace(architecture, normalization=data_normalization(measured, architecture.normalization))
    device = choose_device(config.device, processes)
    context = TrainingContext(config, usable, architecture, module, device, processes, lessons.distillation)
    run = Run(path)
    processes.wait()  # all have seen that the folder is free
    with _held(run, processes):  # whatever can be checked has been checked by here
        start = Checkpoint(0, 0, copy_state(module), {}, processes=processes.size)
        if processes.is_first:
            Run.create(path, config, data, architecture, start, left_out, lessons.record, lessons.unlabelled)
            keep_adapted(run, config.weights)
        return _finish(Trainer(run, context, start, progress))


def resume(path: Path, progress: Progress = SILENT, processes: Processes = Processes(), *, strict: bool = False) -> Run:
    """Ends an interrupted training, bit for bit as it would have ended on the same CPU with as many processes.

    Images that can't be used any more are left out (`strict`: raise DataError); then the result is not bit-identical.
    Raises DataError where the run's teacher is gone, or has changed.
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
        lessons = (  # a run that ends here learns nothing more
            nullcontext(Lessons(data))
            if finish
            else resume_lessons(run, config, data, processes, progress, strict=strict)
        )
        with lessons as found:
            device = choose_device(config.device, processes)
            context = TrainingContext(config, data, architecture, module, device, processes, found.distillation)
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
        write_outcome(trainer, logits, cut_short=cut_short)
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
    if (teacher := trainer.run.teacher()) is not None and context.distillation is not None:
        trainer.progress.note(
            describe_lessons(trainer.config, teacher.info, context.distillation.teacher.pixels.crop_px)
        )
    trainer.progress.note(
        f"{trainer.run.architecture().backbone}: {total:,} parameters, {learning:,} of them learn in the first phase; "
        f"{len(context.train):,} training and {len(context.val):,} validation images on {context.device}{together}"
    )
    if processes.size > 1 and context.learns_batch_norm and not context.syncs_batch_norm:
        trainer.progress.note(
            "BatchNorm normalises each process's images by themselves, as it can't be synchronised on a cpu; its "
            "statistics are averaged after each epoch"
        )


def _count_parameters(trainer: Trainer) -> tuple[int, int]:
    """(parameters that learn in the first phase, all parameters)"""
    network = trainer.context.network
    total = sum(p.numel() for p in network.module.parameters())
    head = sum(p.numel() for p in network.head_parameters)
    return (head if phases_of(trainer.config)[0].on_features else total), total
