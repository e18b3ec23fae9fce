"""The training loop: the phases of a strategy, one epoch after the other, each validated, the best kept."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeclf.training.config import Phase, phases_of
from edgeclf.training.inputs.batches import dead_workers_named
from edgeclf.training.loop.context import TrainingContext
from edgeclf.training.loop.learner import Learner
from edgeclf.training.loop.phases import FeatureInputs, ImageInputs, Inputs
from edgeclf.training.run.checkpoint import Checkpoint
from edgeclf.training.run.figures import figures_of
from edgeclf.training.run.run import Run
from edgeclf.training.run.tensorboard import open_event_log
from edgeclf.training.task import selecting_figure
from edgeclf_runtime.progress import Progress

_AGREEMENT = {"top-1": "agreement with the teacher", "mAP": "mAP by the teacher's predictions"}
_SAVE_EVERY_S = 5.0  # epochs of a head take less than writing the whole network does


class Trainer:
    """One training of one network. `run_all` does what is left of it; the outcome is in `checkpoint`."""

    def __init__(self, run: Run, context: TrainingContext, checkpoint: Checkpoint, progress: Progress) -> None:
        self.config, self.run, self.context = context.config, run, context
        self.checkpoint, self.progress = checkpoint, progress
        logger = self.config.logger if context.processes.is_first else "none"
        self._events = open_event_log(logger, run.path, checkpoint.history)
        self._saved_at = time.perf_counter()
        distillation = context.distillation
        taught_alone = distillation is not None and distillation.info.without_labels
        self._renamed = _AGREEMENT if taught_alone else {}

    def run_all(self) -> None:
        """Trains what is left; a checkpoint is written after every epoch of the network, and every few seconds.

        The first process writes it, and the history; the others hold the same.
        """
        state = self.checkpoint
        phases = phases_of(self.config)
        while state.phase < len(phases):
            phase = phases[state.phase]
            self.context.network.module.load_state_dict(state.weights)
            self._run_phase(phase)
            state.weights, state.ema = state.best, None  # the next phase starts from the best, with a fresh optimizer
            state.optimizer = state.scheduler = state.scaler = None
            state.phase, state.epoch, state.stale_epochs = state.phase + 1, 0, 0
            self._save()
        self._events.close()

    def best_val_logits(self) -> NDArray[np.float32]:
        """(N, classes) of the weights that are kept, on the validation images."""
        self.context.network.module.load_state_dict(self.checkpoint.best)
        return ImageInputs(self.context).val_logits()

    def _run_phase(self, phase: Phase) -> None:
        state, start = self.checkpoint, time.perf_counter()
        self._prepare_teacher()
        inputs: Inputs
        if phase.on_features:
            self.progress.step("features", FeatureInputs.passes(self.context))
            inputs = FeatureInputs(self.context, self.progress.advance)
        else:
            inputs = ImageInputs(self.context)
            if phase.epochs - state.epoch > 1:
                inputs.decode_once(self.progress)
        learner = Learner(self.context, phase, inputs, self.progress)
        if state.optimizer is not None:
            learner.restore(state)
        while state.epoch < phase.epochs and not 0 < self.config.patience <= state.stale_epochs:
            self.progress.step(f"{phase.name} {state.epoch + 1}/{phase.epochs}", len(inputs))
            with dead_workers_named():
                lr, done = learner.lr, learner.train_epoch(state.epoch, fresh=not state.history)
                scores = learner.validate()
            seconds = time.perf_counter() - start
            images_per_s = len(self.context.train) / seconds
            record = {"phase": phase.name, "epoch": state.epoch + 1, "lr": lr, "train_loss": done.loss, **scores}
            record |= {"seconds": round(seconds, 3), "images_per_s": round(images_per_s, 1)}
            record |= {"training_s": round(done.seconds, 3), "waiting_s": round(done.waited_s, 3)}
            state.end_epoch(record, seconds)
            self._events.add(record, len(state.history))
            self._keep_best(scores, learner)
            learner.store(state)
            if not phase.on_features or time.perf_counter() - self._saved_at > _SAVE_EVERY_S:
                self._save()
            self.progress.note(_epoch_line(record, self._renamed), record)
            start = time.perf_counter()

    def _prepare_teacher(self) -> None:
        """Has the teacher run over what this and later phases need of it, once."""
        distillation, context = self.context.distillation, self.context
        if distillation is None:
            return
        before, images = distillation.info, (context.train, context.val)
        distillation.prepare(self.config, self.checkpoint.phase, images, context.processes, self.progress)
        record = self.run.teacher()
        if distillation.info != before and record is not None and context.processes.is_first:
            self.run.write_teacher(replace(record, info=distillation.info))
            self.progress.note(f"the teacher's accuracy: {distillation.info.accuracy}")

    def _keep_best(self, scores: dict[str, float], learner: Learner) -> None:
        state = self.checkpoint
        score = scores[selecting_figure(self.config, multi_label=self.context.train.multi_label)]
        state.stale_epochs = 0 if score > state.best_score else state.stale_epochs + 1
        # few validation images give many epochs the same figure: of these the one with the lower loss is better
        if score > state.best_score or (score == state.best_score and scores["val_loss"] < state.best_loss):
            state.best, state.best_score, state.best_epoch = learner.evaluated_weights(), score, len(state.history)

    def _save(self) -> None:
        if not self.context.processes.is_first:
            return
        self.run.save(self.checkpoint)
        self._saved_at = time.perf_counter()


def _epoch_line(record: Mapping[str, Any], renamed: Mapping[str, str]) -> str:
    figures = "  ".join(f"{renamed.get(name, name)} {value:.3f}" for name, value in figures_of(record).items())
    return (
        f"{record['phase']:>8} {record['epoch']:3d}  lr {record['lr']:.1e}  loss {record['train_loss']:.3f}  "
        f"validation: loss {record['val_loss']:.3f}  {figures}  {record['seconds']:.1f} s"
    )
