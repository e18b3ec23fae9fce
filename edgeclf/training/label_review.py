"""Which labels are probably wrong: a linear probe, cross-validated on features of a backbone, ranks them.

Each image is predicted by a probe that was trained without it, its copies and its group. The lower the probability of
the label that it has, the earlier it comes in the list; what is wrong is for a person to say.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeclf.data.assign import join_clusters
from edgeclf.data.hashed import hash_images
from edgeclf.data.labelling.suspects import LabelSuspect
from edgeclf.data.usable import Unreadable
from edgeclf.evaluation.inference import predict
from edgeclf.training.config import TrainConfig
from edgeclf.training.loop.context import Normalizer
from edgeclf.training.loop.device import choose_device
from edgeclf.training.loop.network import Network
from edgeclf.training.multi_label_review import cross_validate_labels, doubted_images
from edgeclf.training.review_probe import review_probe
from edgeclf.training.seeds import seed_of
from edgeclf_export.sources.trained import load_for_training
from edgeclf_runtime.errors import DataError
from edgeclf_runtime.images.data_split import DataSplit
from edgeclf_runtime.images.labelled import LabelledImage, class_numbers, label_targets
from edgeclf_runtime.metrics.average_precision import mean_average_precision
from edgeclf_runtime.progress import SILENT, Progress

FOLDS = 5
_BATCH = 32


@dataclass(frozen=True, slots=True)
class LabelReview:
    """The ranking of a review.

    Attributes
    ----------
    suspects
        Images of which the probe predicts another class than their label, least probable label first. Where an image
        may have several labels: images with one that is more probably missing, or superfluous, than right.
    images
        How many were compared.
    agreement
        The share of them whose label the probe predicts: the higher, the more its doubts mean. Of several labels the
        mean average precision of the probes, the given labels taken as the truth.
    test_images
        How many test images were left alone.
    too_few
        Classes of too few images to be predicted from others of their kind.
    """

    suspects: tuple[LabelSuspect, ...]
    images: int
    agreement: float
    test_images: int
    too_few: tuple[str, ...]
    unreadable: tuple[Unreadable, ...]


def review_labels(
    config: TrainConfig, data: DataSplit, *, folds: int = FOLDS, progress: Progress = SILENT
) -> LabelReview:
    """Ranks the labels of all images but test images, with the backbone and weights that `config` starts from.

    The weights have to come from elsewhere: a network that was trained on these labels has learnt the wrong ones, too.

    Raises DataError where fewer than two classes have two images.
    """
    data = hash_images(data, progress)
    wanted = tuple(image for image in data.images if image.split != "test")
    features, images, unreadable = features_of(config, data.classes, wanted, progress)
    clusters = join_clusters([(image.sha256, image.group) for image in images])
    progress.step("cross-validating", folds)
    if data.multi_label:
        targets = label_targets(images, data.classes)
        found = cross_validate_labels(features, images, targets, clusters, folds, config.seed, progress)
        return _several_labels(data, images, targets, found, unreadable)
    labels = class_numbers(images, data.classes)
    probabilities = cross_validate(features, labels, clusters, len(data.classes), folds, config.seed, progress)
    tested = np.isfinite(probabilities[:, 0]) if len(images) else np.zeros(0, dtype=bool)
    if not tested.any():
        raise DataError(f"{data.root}: no class has two different images, so no label can be compared with others")
    too_few = tuple(data.classes[number] for number in np.unique(labels[~tested]))
    likely = np.where(tested[:, np.newaxis], probabilities, 0.0).argmax(axis=1)
    own = probabilities[np.arange(len(labels)), labels]
    doubted = np.flatnonzero(tested & (likely != labels))
    order = doubted[np.lexsort((-probabilities[doubted, likely[doubted]], own[doubted]))]
    suspects = tuple(
        LabelSuspect(
            images[place], data.classes[likely[place]], float(own[place]), float(probabilities[place, likely[place]])
        )
        for place in order.tolist()
    )
    agreement = float((likely == labels)[tested].mean())
    return LabelReview(suspects, int(tested.sum()), agreement, len(data.images) - len(wanted), too_few, unreadable)


def _several_labels(
    data: DataSplit,
    images: Sequence[LabelledImage],
    targets: NDArray[np.float32],
    probabilities: NDArray[np.float64],
    unreadable: tuple[Unreadable, ...],
) -> LabelReview:
    """From (N, labels) probabilities, NaN where no probe could be trained."""
    tested = np.asarray(np.isfinite(probabilities).all(axis=0))
    if not tested.any():
        raise DataError(f"{data.root}: no label is on two different images and not on all, so none can be compared")
    return LabelReview(
        suspects=doubted_images(probabilities, targets, images, data.classes),
        images=len(images),
        agreement=mean_average_precision(probabilities[:, tested], targets[:, tested] > 0) or 0.0,
        test_images=len(data.of("test")),
        too_few=tuple(label for label, known in zip(data.classes, tested.tolist(), strict=True) if not known),
        unreadable=unreadable,
    )


def features_of(
    config: TrainConfig, classes: tuple[str, ...], images: Sequence[LabelledImage], progress: Progress
) -> tuple[NDArray[np.float32], tuple[LabelledImage, ...], tuple[Unreadable, ...]]:
    """(N, features) of the images that could be read, as a linear probe of this config is trained on; those images."""
    import torch

    architecture, module = load_for_training(
        config.model,
        config.weights,
        labels=classes,
        img_size=config.img_size,
        seed=config.seed,
        value_range=config.value_range,
    )
    device = choose_device(config.device)
    network = Network.of(module.to(device).eval(), len(classes), 0.0, seed_of(config.seed, "head"))
    normalized = Normalizer(architecture.normalization, device)

    def infer(batch: NDArray[np.uint8]) -> NDArray[np.float32]:
        with torch.inference_mode():
            found: NDArray[np.float32] = network.features(normalized(torch.from_numpy(batch))).float().cpu().numpy()
        return found.reshape(len(batch), -1)

    width = sum(int(head.weight.shape[1]) for head in network.heads)
    found = predict(infer, architecture.pixels, width, images, batch_size=_BATCH, progress=progress)
    return found.logits, found.images, found.unreadable


def cross_validate(
    features: NDArray[np.float32],
    labels: NDArray[np.intp],
    clusters: Sequence[Sequence[int]],
    classes: int,
    folds: int,
    seed: int,
    progress: Progress = SILENT,
) -> NDArray[np.float64]:
    """(N, classes) probabilities, each row from a probe that saw none of the row's cluster; NaN where there is none.

    Rows are NaN where the probe saw no image of their class.
    """
    found = np.full((len(labels), classes), np.nan)
    for seen, held_out in _folds(labels, clusters, folds, seed):
        there = np.unique(labels[seen])
        if len(there) > 1:
            probe = review_probe()
            probe.fit(features[seen], labels[seen])
            known = held_out[np.isin(labels[held_out], there)]
            if len(known):
                found[known] = 0.0
                found[np.ix_(known, there)] = probe.predict_proba(features[known])
        progress.advance()
    return found


def _folds(
    labels: NDArray[np.intp], clusters: Sequence[Sequence[int]], folds: int, seed: int
) -> list[tuple[NDArray[np.intp], NDArray[np.intp]]]:
    """(seen, held out) places of each fold; all of a cluster are in one."""
    from sklearn.model_selection import StratifiedGroupKFold, StratifiedKFold

    if len(clusters) < 2:
        return []
    folds = min(folds, len(clusters))
    numbers = np.empty(len(labels), dtype=np.intp)
    for number, members in enumerate(clusters):
        numbers[list(members)] = number
    single = len(clusters) == len(labels)  # the rule for groups takes minutes where there are many
    splitter: Any = (StratifiedKFold if single else StratifiedGroupKFold)(folds, shuffle=True, random_state=seed)
    if single and folds > np.bincount(labels).max():
        splitter = StratifiedGroupKFold(folds, shuffle=True, random_state=seed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # of classes with fewer images than folds: reported by the caller
        try:
            return list(splitter.split(np.zeros(len(labels)), labels, numbers))
        except ValueError as error:  # no class has as many images as there are folds
            if folds == 2:
                raise DataError(f"too few images of each class to review their labels: {error}") from error
            return _folds(labels, clusters, folds - 1, seed)
