"""Options and result of an evaluation."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from edgeclf.evaluation.evaluation_report import EvaluationReport
from edgeclf.evaluation.inference import check_split
from edgeclf.evaluation.label_thresholds import LabelThresholds
from edgeclf.evaluation.thresholds import OperatingPoint, Wanted, parse_wanted
from edgeclf.evaluation.unknown import read_unknown
from edgeclf_runtime.backends.engine import SessionOptions
from edgeclf_runtime.errors import UsageError
from edgeclf_runtime.images.labelled import LabelledImage, SplitOrAll
from edgeclf_runtime.progress import Progress


@dataclass(frozen=True, slots=True)
class EvaluateOptions:
    """What to evaluate on, and how.

    Attributes
    ----------
    split
        Of the data; "all": every image.
    present
        Whether the data may lack classes of the model; predictions stay among all of them.
    seed
        Seed of the training's split, for data without splits.
    batch_size
        Images handed to the engine at a time.
    session
        Device, threads and precision, for a bundle.
    rebuild_if_stale
        Whether a TensorRT engine that no longer fits this machine is built again first.
    operating_point
        Choose decision thresholds on validation images first, such as "precision=0.95" or "unknown=0.01"; they are kept
        in the run, or in a new bundle beside the old one. `per_class`: a threshold for each class.
    unknown
        A folder of images that are of none of the classes, to measure how well they are found.
    explain
        Whether the surest mistakes are explained, by maps of the pixels that matter.
    output
        Folder of the report; None: evals/NAME-SPLIT. `force`: what is there is replaced, also a new bundle.
    """

    split: SplitOrAll = "test"
    present: bool = False
    seed: int = 0
    batch_size: int = 16
    session: SessionOptions = SessionOptions()
    rebuild_if_stale: bool = False
    operating_point: str | None = None
    per_class: bool = False
    unknown: str | Path | None = None
    explain: bool = False
    output: str | Path | None = None
    force: bool = False

    def __post_init__(self) -> None:
        check_split(self.split)
        if self.operating_point is not None:
            parse_wanted(self.operating_point)
        if self.unknown is not None and not Path(self.unknown).is_dir():
            raise UsageError(f"--unknown is a folder of images of none of the classes, found {self.unknown}")

    @property
    def wanted(self) -> Wanted | None:
        return None if self.operating_point is None else parse_wanted(self.operating_point)

    def unknown_images(self, progress: Progress) -> tuple[LabelledImage, ...]:
        """The images of none of the classes; empty where no folder was given."""
        return () if self.unknown is None else read_unknown(Path(self.unknown), progress)

    def folder_for(self, subject: Path) -> Path:
        """Where the report goes. Raises UsageError where something is there already."""
        name = f"{subject.resolve().name.removesuffix('.tar')}-{self.split}"
        folder = Path("evals", name) if self.output is None else Path(self.output)
        if folder.exists() and not self.force:
            raise UsageError(f"{folder} exists; give --force to replace it, or another --output")
        return folder


@dataclass(frozen=True, slots=True)
class Evaluated:
    """The result of an evaluation.

    Attributes
    ----------
    subject
        What was evaluated: the run, the bundle, or the new bundle that has the thresholds.
    report
        The figures, as report.json holds them. Images that can't be read are listed there and count for nothing.
    written
        Report, page and plots; `folder` holds them.
    operating_point
        What the new thresholds give on validation images; None: none were requested.
    unusable
        Images of a run's split that could not be used in its training, and are left out here, too.
    warning
        A sentence where images of these were seen while the first weights were adapted; None: none were.
    """

    subject: Path
    report: EvaluationReport
    folder: Path
    written: tuple[Path, ...]
    operating_point: OperatingPoint | LabelThresholds | None = None
    unusable: int = 0
    warning: str | None = None
