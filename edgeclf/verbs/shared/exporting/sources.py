"""What `edgeclf export` is given (a run, a backbone, a foreign ONNX file, a bundle) and how each becomes exportable."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from edgeclf.console import say
from edgeclf.verbs.shared.exporting.foreign_formats import refuse_other_formats
from edgeclf.verbs.shared.exporting.normalization import IMAGENET_MEAN, foreign_normalization
from edgeclf.verbs.shared.exporting.several_labels import check_several_labels
from edgeclf.verbs.shared.value_range import options_for, value_range_of
from edgeclf_runtime.bundle.atomic_write import MANIFEST
from edgeclf_runtime.errors import UsageError

if TYPE_CHECKING:
    from edgeclf.verbs.shared.exporting.source_options import ChannelOrder
    from edgeclf_export.exportable import Exportable
    from edgeclf_export.options import ExportOptions

Kind = Literal["run", "backbone", "file", "bundle"]
NEEDED: dict[Kind, tuple[str, ...]] = {
    "run": ("torch", "torchvision", "timm", "onnx", "onnxscript", "onnxslim", "safetensors"),
    "backbone": ("torch", "torchvision", "timm", "onnx", "onnxscript", "onnxslim", "safetensors"),
    "file": ("onnx", "onnxslim", "onnxruntime"),
    "bundle": ("onnx", "onnxruntime"),
}
_OF_FILES = ("channels", "output-name")
_KNOWN: dict[Kind, str] = {
    "run": "a run brings its own",
    "bundle": "a bundle brings its own",
    "backbone": "a CLIP model brings its own",
}


@dataclass(frozen=True, slots=True)
class Preprocessing:
    """What a foreign ONNX file, or a checkpoint, may not state: how its images were prepared."""

    mean: str | None
    std: str | None
    crop_pct: float | None
    crop_mode: str | None
    interpolation: str | None
    channels: ChannelOrder | None = None
    scale: float | None = None
    output_name: str | None = None

    def given(self) -> list[str]:
        return [field.name.replace("_", "-") for field in fields(self) if getattr(self, field.name) is not None]

    def settings(self) -> dict[str, Any]:
        """What was typed, as timm names it; the normalisation of pixels that were divided by 255."""
        if (self.mean is None) != (self.std is None):
            given, other = ("std", "mean") if self.mean is None else ("mean", "std")
            raise UsageError(f"--{given} goes with --{other} R,G,B")
        normalization = foreign_normalization(self.mean, self.std, self.scale)
        typed = {
            "mean": normalization.mean if normalization else None,
            "std": normalization.std if normalization else None,
            "crop_pct": self.crop_pct,
            "crop_mode": self.crop_mode,
            "interpolation": self.interpolation,
        }
        return {name: value for name, value in typed.items() if value is not None}


@dataclass(frozen=True, slots=True)
class Source:
    """What was typed to name a classifier. `bit_depth` and `window` say which stored values are black and white."""

    place: str | None
    model: str | None
    weights: str | None
    labels: Path | None
    img_size: int | None
    seed: int
    preprocessing: Preprocessing
    bit_depth: int | None
    window: str | None
    multi_label: bool = False
    thresholds: str | None = None

    @property
    def kind(self) -> Kind:
        if self.model is not None:
            return "backbone"
        if self.place is None:
            return "run"
        if self.place.lower().endswith(".onnx"):
            return "file"
        return "bundle" if self.place.endswith(".tar") or Path(self.place, MANIFEST).is_file() else "run"

    @property
    def _has_own_weights(self) -> bool:
        from edgeclf_export.sources.backbones import are_own

        return are_own(self.weights or "hub")

    def check_content(self, options: ExportOptions) -> bool:
        """Whether int8 needs no images of the user: a run has its own, a file that is quantized already takes none.

        Raises, before any other option is asked for, DataError for what is not there or can't be exported, and
        UsageError for options that don't fit a file that is quantized already.
        """
        if self.kind == "file":
            from edgeclf_export.options import refuse_for_quantized
            from edgeclf_export.sources.onnx_file.reading import is_quantized_file

            place = Path(str(self.place))
            quantized = is_quantized_file(place)
            if quantized:
                refuse_for_quantized(place.name, options)
            return quantized
        if self.kind == "bundle":
            from edgeclf_export.sources.bundle import require_source
            from edgeclf_runtime.bundle.bundle import Bundle

            require_source(Bundle.open(str(self.place)))
        elif self.kind == "backbone":
            from edgeclf_export.sources.names import resolve_backbone
            from edgeclf_export.sources.weights import require_file
            from edgeclf_runtime.backends.torchvision_guard import guard_torchvision

            guard_torchvision()
            resolve_backbone(str(self.model))
            if self._has_own_weights:
                require_file(Path(str(self.weights)))
        return self.kind == "run"

    def check(self, *, encoders: bool = False) -> None:
        """Raises UsageError for options that belong to another kind of source; `encoders`: of a CLIP model."""
        if encoders and (
            self.model is None or any(given is not None for given in (self.place, self.weights, self.labels))
        ):
            raise UsageError(
                "--encoder takes the CLIP model --model with --pretrained WHERE, and no run, weights or labels"
            )
        if encoders and (self.bit_depth is not None or self.window is not None):
            raise UsageError("--bit-depth and --window are for classifiers, not for --encoder")
        if self.model is not None and self.place is not None:
            raise UsageError("give either a run or FILE.onnx, or --model, not both")
        if self.model is None and self.place is not None and self.kind == "run":
            refuse_other_formats(self.place)
            _refuse_hub_folder(Path(self.place))
        check_several_labels(
            self.kind,
            multi_label=self.multi_label,
            thresholds=self.thresholds,
            own_weights=self.kind != "backbone" or self._has_own_weights,
            encoders=encoders,
        )
        self._check_preprocessing(encoders=encoders)
        if self.model is None and self.weights is not None:
            raise UsageError("--weights is for --model; runs, bundles and ONNX files bring their own")
        self._refuse_weights_of_a_run()
        own = {"labels": self.labels, "img-size": self.img_size, "bit-depth": self.bit_depth, "window": self.window}
        if self.kind == "bundle" and (given := [name for name, value in own.items() if value is not None]):
            raise UsageError(f"--{given[0]} is not for a bundle, which brings its own")

    def _refuse_weights_of_a_run(self) -> None:
        """Raises UsageError for a run's folder as --weights: its labels and pixels would be lost."""
        if self.model is None or self.weights is None or not Path(self.weights).is_dir():
            return
        from edgeclf.training.run.run import CONFIG, NETWORK, SPLIT

        if all(Path(self.weights, name).is_file() for name in (CONFIG, NETWORK, SPLIT)):
            raise UsageError(
                f"{self.weights} is a run, which knows its network, labels and preprocessing: edgeclf export "
                f"{self.weights}"
            )

    def _check_preprocessing(self, *, encoders: bool) -> None:
        """Raises UsageError where the classifier itself knows how its images are prepared."""
        misplaced = self.preprocessing.given()
        if self.kind == "file" or not misplaced:
            return
        if self.kind != "backbone" or encoders:
            raise UsageError(f"--{misplaced[0]} is for FILE.onnx and own --weights; {_KNOWN[self.kind]}")
        if strange := [name for name in misplaced if name in _OF_FILES]:
            raise UsageError(f"--{strange[0]} is for FILE.onnx")
        if not self._has_own_weights:
            raise UsageError(f"--{misplaced[0]} is for FILE.onnx and own --weights; published weights bring their own")
        self.preprocessing.settings()

    def load(self, folder: Path) -> Exportable:
        """The classifier. `folder` is empty and there until the export is over."""
        shown = value_range_of(self.bit_depth, self.window)
        exportable = self._load(folder)
        if self.kind == "run":
            _refuse_other_range(exportable, shown)
        for note in exportable.notes:
            say(note)
        if shown is None:
            return exportable
        return replace(exportable, pixels=replace(exportable.pixels, value_range=shown))

    def _load(self, folder: Path) -> Exportable:
        exportable = self._load_as_it_is(folder)
        if not self.multi_label:
            return exportable
        from edgeclf_export.sources.several_labels import with_several_labels

        if self.kind == "backbone":  # its own training decides; a head of a backbone has no activation
            exportable = replace(exportable, scores="sigmoid")
        return with_several_labels(exportable, self.thresholds)

    def _load_as_it_is(self, folder: Path) -> Exportable:
        if self.model is not None:
            return _backbone(
                self.model, self.weights or "hub", self.labels, self.img_size, self.seed, self.preprocessing.settings()
            )
        if self.kind == "file":
            place = Path(str(self.place))
            return _foreign(place, self.labels, self.img_size, self.preprocessing, multi_label=self.multi_label)
        if self.kind == "bundle":
            from edgeclf_export.sources.bundle import load_bundle_classifier
            from edgeclf_runtime.bundle.bundle import Bundle

            return load_bundle_classifier(Bundle.open(str(self.place)), folder)
        return _run(self.place)


def _refuse_hub_folder(folder: Path) -> None:
    """Raises UsageError for a folder as timm writes it for a model hub: it names its backbone, and is no run."""
    from edgeclf.training.run.run import NETWORK
    from edgeclf_export.sources.checkpoint_config import CONFIG, architecture_in

    if (backbone := architecture_in(folder / CONFIG)) and not (folder / NETWORK).is_file():
        raise UsageError(
            f"{folder} is a checkpoint of timm's {backbone}: edgeclf export --model {backbone} --weights {folder}"
        )


def _refuse_other_range(exportable: Exportable, shown: tuple[float, float] | None) -> None:
    """Raises UsageError where a run would get other pixels than it was trained on."""
    trained = exportable.pixels.value_range
    if shown is None or shown == trained:
        return
    own = "all bits of its files" if trained is None else f"stored values of {trained[0]:g} to {trained[1]:g}"
    raise UsageError(
        f"this run was trained on {own}, so {options_for(shown).strip()} would give it other pixels; "
        "leave it out, or give it to `edgeclf train`"
    )


def _run(source: str | None) -> Exportable:
    """A training run; without a name the newest, with a line about it."""
    from edgeclf.training.run.run import Run

    run = Run.open(Path(source)) if source is not None else Run.newest()
    if source is None:
        say(f"exporting {run.path}, the newest run")
    return run.exportable()


def _backbone(
    model: str, weights: str, labels: Path | None, img_size: int | None, seed: int, pictures: dict[str, Any]
) -> Exportable:
    from edgeclf_export.sources.backbones import load_backbone
    from edgeclf_export.sources.labels import read_labels

    names = read_labels(labels) if labels is not None else None
    return load_backbone(model, weights, labels=names, img_size=img_size, seed=seed, preprocessing=pictures)


def _foreign(
    source: Path, labels: Path | None, img_size: int | None, preprocessing: Preprocessing, *, multi_label: bool
) -> Exportable:
    from edgeclf_export.sources.data_config import pixels_from_config
    from edgeclf_export.sources.labels import read_labels
    from edgeclf_export.sources.onnx_file.exportable import load_onnx_classifier

    missing = {"--labels FILE": labels is None, "--img-size PX": img_size is None} | _missing_values(
        source, preprocessing
    )
    if labels is None or img_size is None or any(missing.values()):
        wanted = " and ".join(", ".join(option for option, absent in missing.items() if absent).rsplit(", ", 1))
        hint = f" (ImageNet's are {IMAGENET_MEAN} and 0.229,0.224,0.225)" if "R,G,B" in wanted else ""
        raise UsageError(f"{source.name} does not state its classes and preprocessing: give {wanted}{hint}")
    normalization = foreign_normalization(preprocessing.mean, preprocessing.std, preprocessing.scale)
    config = {
        "input_size": (3, img_size, img_size),
        "crop_pct": preprocessing.crop_pct or 0.875,
        "crop_mode": preprocessing.crop_mode or "center",
        "interpolation": preprocessing.interpolation or "bilinear",
        "mean": (0.0, 0.0, 0.0) if normalization is None else normalization.mean,
    }
    loaded = load_onnx_classifier(
        source,
        labels=read_labels(labels),
        pixels=pixels_from_config(config),
        normalization=normalization,
        channels=preprocessing.channels or "rgb",
        output=preprocessing.output_name,
        multi_label=multi_label,
    )
    return replace(loaded, pixels_from="--img-size and the other options that were typed")


def _missing_values(source: Path, preprocessing: Preprocessing) -> dict[str, bool]:
    """Which of mean and std are missing; a file of uint8 pixels needs neither."""
    from edgeclf_export.sources.onnx_file.input import takes_uint8

    if preprocessing.mean is None and preprocessing.std is None and takes_uint8(source):
        return {}
    return {"--mean R,G,B": preprocessing.mean is None, "--std R,G,B": preprocessing.std is None}
