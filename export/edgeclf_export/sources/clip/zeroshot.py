"""Zero-shot classifiers: the embeddings of words become the last linear layer of an image tower.

Radford et al. 2021, arXiv:2103.00020; SigLIP's sigmoid with its bias: Zhai et al. 2023, arXiv:2303.15343.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from edgeclf_export.exportable import Exportable
from edgeclf_export.sources.backbones import fold_branches
from edgeclf_export.sources.clip.encoders import embed_images, reference_of
from edgeclf_export.sources.clip.models import Clip
from edgeclf_export.sources.clip.prompts import Templates, prompts_digest
from edgeclf_export.sources.clip.texts import check_texts, shown_label
from edgeclf_export.sources.clip.towers import image_tower, tower_builder
from edgeclf_export.sources.modules import exportable_from_module
from edgeclf_runtime.bundle.manifest import Prompts
from edgeclf_runtime.errors import GateError, UsageError
from edgeclf_runtime.progress import SILENT, Progress

if TYPE_CHECKING:
    import torch

_TEXTS_AT_A_TIME = 128
_EQUAL = 1e-6  # between numbers of vectors of length 1


def zeroshot_classifier(
    clip: Clip,
    labels: tuple[str, ...],
    templates: Templates,
    progress: Progress = SILENT,
) -> Exportable:
    """A classifier for `labels` that needs no text encoder: softmax, or sigmoid where the model has a logit bias.

    Its reference is open_clip's own computation: its embeddings of the words, its `encode_image`, scale and bias.
    Raises UsageError where two labels are the same to the model.
    """
    import torch

    notes = check_texts(clip.tokenizer, labels, templates)
    words = embed_words(clip, labels, templates, progress)
    _refuse_equal_vectors(words, labels)
    visual = clip.model.get_submodule("visual")
    module = image_tower(visual, classes=len(labels), width=words.shape[0], normalize=True)
    head = module.get_submodule("head")
    head.load_state_dict(
        {"weight": words.T * clip.logit_scale, "bias": torch.full((len(labels),), clip.logit_bias or 0.0)}
    )
    builder = tower_builder(clip, classes=len(labels), normalize=True)
    made = exportable_from_module(
        module,
        labels=labels,
        pixels=clip.pixels,
        normalization=clip.normalization,
        backbone=clip.backbone,
        weights=clip.weights,
        reference=reference_of(clip),
        builder=builder,
        deploy=fold_branches(builder),
        pixel_reference=clip.pixel_reference,
        scores="softmax" if clip.logit_bias is None else "sigmoid",
    )
    prompts = Prompts(
        templates=templates.sentences,
        source=templates.source,
        sha256=prompts_digest(labels, templates),
        logit_scale=clip.logit_scale,
        logit_bias=clip.logit_bias,
    )
    return replace(
        made,
        run_reference=lambda batch: _own_logits(clip, words.numpy(), batch),
        prompts=prompts,
        notes=(*clip.notes, *notes),
    )


def embed_words(clip: Clip, labels: Sequence[str], templates: Templates, progress: Progress) -> torch.Tensor:
    """(embedding, labels): open_clip's mean over the templates of each label, of length 1. Raises GateError for NaN."""
    import torch
    from open_clip import build_zero_shot_classifier

    sentences = [_filled(sentence) for sentence in templates.sentences]
    at_a_time = max(1, _TEXTS_AT_A_TIME // len(sentences))
    columns = []
    progress.step("words", len(labels))
    for start in range(0, len(labels), at_a_time):
        some = labels[start : start + at_a_time]
        columns.append(build_zero_shot_classifier(clip.model, clip.tokenizer, some, sentences, len(some)))
        progress.advance(len(some))
    words = torch.cat(columns, dim=1).float()
    if not torch.isfinite(words).all():
        raise GateError(f"{clip.backbone} itself gives NaN or infinite embeddings of words; its weights are damaged")
    return words


def _refuse_equal_vectors(words: torch.Tensor, labels: Sequence[str]) -> None:
    """Raises UsageError for two columns that are the same: no image would be nearer to one of them."""
    import torch

    line = torch.randn(len(words), generator=torch.Generator().manual_seed(0))
    order = (line @ words).argsort()  # what is equal lies side by side along any line
    beside = (words[:, order[1:]] - words[:, order[:-1]]).abs().amax(dim=0)
    if len(beside) and float(beside.min()) < _EQUAL:
        place = int(beside.argmin())
        first, second = (labels[number] for number in sorted(order[place : place + 2].tolist()))
        raise UsageError(
            f"the labels {shown_label(first)} and {shown_label(second)} have the same embedding, so that no image "
            "tells them apart; leave one out, or word it differently"
        )


def _filled(sentence: str) -> Callable[[str], str]:
    """open_clip would call `format` on a sentence, which other braces break."""
    return lambda label: sentence.replace("{}", label)


def _own_logits(clip: Clip, words: NDArray[np.float32], batch: NDArray[np.uint8]) -> NDArray[np.float32]:
    """(N, H, W, 3) uint8 -> (N, labels): scale * cosine + bias, by open_clip's `encode_image`."""
    logits = clip.logit_scale * embed_images(clip, batch) @ words + (clip.logit_bias or 0.0)
    return np.asarray(logits, dtype=np.float32)
