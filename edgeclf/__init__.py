"""edgeclf: image classifiers for edge devices, every artefact with its proof."""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgeclf_runtime.lazy import offer

__version__: str

if TYPE_CHECKING:
    from edgeclf.baselines.baseline import Baseline as Baseline
    from edgeclf.baselines.baseline import BaselineOptions as BaselineOptions
    from edgeclf.baselines.from_data import baseline as baseline
    from edgeclf.evaluation.bench_images import BenchImages as BenchImages
    from edgeclf.explanation.explain import Explained as Explained
    from edgeclf.explanation.explain import ExplainOptions as ExplainOptions
    from edgeclf.explanation.explain import explain as explain
    from edgeclf.training.config import TrainConfig as TrainConfig
    from edgeclf.training.evaluate import evaluate as evaluate
    from edgeclf.training.evaluate_options import Evaluated as Evaluated
    from edgeclf.training.evaluate_options import EvaluateOptions as EvaluateOptions
    from edgeclf.training.from_paths import Trained as Trained
    from edgeclf.training.from_paths import finish_training as finish_training
    from edgeclf.training.from_paths import resume_training as resume_training
    from edgeclf.training.from_paths import train as train
    from edgeclf.training.inputs.augment import Switches as Switches
    from edgeclf.training.learning_curve.curve import LearningCurve as LearningCurve
    from edgeclf.training.learning_curve.from_paths import learning_curve as learning_curve
    from edgeclf.training.learning_curve.from_paths import resume_learning_curve as resume_learning_curve
    from edgeclf.training.run.run import Run as Run
    from edgeclf.training.search.from_paths import resume_search as resume_search
    from edgeclf.training.search.from_paths import search as search
    from edgeclf.training.search.state import Search as Search
    from edgeclf.training.teacher_gain import TeacherGain as TeacherGain
    from edgeclf_runtime.progress import Progress as Progress
else:
    __getattr__, __dir__ = offer(
        __name__,
        {
            "Baseline": "edgeclf.baselines.baseline",
            "BaselineOptions": "edgeclf.baselines.baseline",
            "BenchImages": "edgeclf.evaluation.bench_images",
            "EvaluateOptions": "edgeclf.training.evaluate_options",
            "Evaluated": "edgeclf.training.evaluate_options",
            "ExplainOptions": "edgeclf.explanation.explain",
            "Explained": "edgeclf.explanation.explain",
            "LearningCurve": "edgeclf.training.learning_curve.curve",
            "Progress": "edgeclf_runtime.progress",
            "Run": "edgeclf.training.run.run",
            "Search": "edgeclf.training.search.state",
            "Switches": "edgeclf.training.inputs.augment",
            "TeacherGain": "edgeclf.training.teacher_gain",
            "TrainConfig": "edgeclf.training.config",
            "Trained": "edgeclf.training.from_paths",
            "baseline": "edgeclf.baselines.from_data",
            "evaluate": "edgeclf.training.evaluate",
            "explain": "edgeclf.explanation.explain",
            "finish_training": "edgeclf.training.from_paths",
            "learning_curve": "edgeclf.training.learning_curve.from_paths",
            "resume_learning_curve": "edgeclf.training.learning_curve.from_paths",
            "resume_search": "edgeclf.training.search.from_paths",
            "resume_training": "edgeclf.training.from_paths",
            "search": "edgeclf.training.search.from_paths",
            "train": "edgeclf.training.from_paths",
        },
    )
