"""A small CLIP for trying things out: trained in a minute on images whose captions are made from their class names.

    python -m edgeclf.training.small_clip DATA -o DIR

DATA is what `edgeclf data fetch photo-patches` (or digits) wrote, or any labelled folder. DIR then holds what a folder
of a model hub holds, `open_clip_config.json` and `open_clip_model.safetensors`, for `--model DIR`. It knows the words
that it was trained on and no others.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from edgeclf.data.split import open_data
from edgeclf.training.inputs.batches import TrainingImages
from edgeclf_export.sources.clip.library import import_open_clip, unlogged
from edgeclf_export.sources.clip.models import CONFIG
from edgeclf_export.sources.clip.preprocess import normalization_from_preprocess, pixels_from_preprocess
from edgeclf_runtime.bundle.atomic_write import writing
from edgeclf_runtime.bundle.manifest import Normalization, to_input
from edgeclf_runtime.errors import EdgeclfError
from edgeclf_runtime.images.data_split import DataSplit

if TYPE_CHECKING:
    import torch

SIDE_PX = 48
CAPTIONS = (
    "a photo of a {}.",
    "a photo of the {}.",
    "a picture of {}.",
    "a crop of the {}.",
    "a grey photo of a {}.",
    "{}",
)
_MEAN_AND_STD = (0.5, 0.5, 0.5)
_GROUPS = 3  # of one image per class, in one step
_SHIFT_PX = 4


def model_config(*, siglip: bool = False) -> dict[str, Any]:
    """open_clip's description of the model: a ViT of four layers on 48 px, a text transformer of two, 3.9 M weights."""
    config: dict[str, Any] = {
        "embed_dim": 64,
        "vision_cfg": {"image_size": SIDE_PX, "layers": 4, "width": 128, "head_width": 64, "patch_size": 12},
        "text_cfg": {"context_length": 24, "vocab_size": 49408, "width": 64, "heads": 2, "layers": 2},
    }
    if siglip:
        config |= {"custom_text": True, "init_logit_scale": float(np.log(10)), "init_logit_bias": -3.0}
    return config


def preprocess_config() -> dict[str, Any]:
    """Unlike CLIP's usual one in mean, std, interpolation and size, so that a mix-up shows."""
    return {
        "size": [SIDE_PX, SIDE_PX],
        "mode": "RGB",
        "mean": list(_MEAN_AND_STD),
        "std": list(_MEAN_AND_STD),
        "interpolation": "bilinear",
        "resize_mode": "shortest",
        "fill_color": 0,
    }


def train_small_clip(
    data: DataSplit, folder: Path, *, steps: int = 300, seed: int = 0, siglip: bool = False, force: bool = False
) -> float:
    """Trains on the training images and writes the folder; returns the loss of the last step, in nats.

    Each group of a batch holds one image of each class, so that no caption occurs twice in a group.
    """
    import torch
    from open_clip.loss import ClipLoss, SigLipLoss
    from open_clip.model import CLIP, CustomTextCLIP

    open_clip = import_open_clip()
    torch.manual_seed(seed)
    config = model_config(siglip=siglip)
    towers = {key: value for key, value in config.items() if key != "custom_text"}
    model = (CustomTextCLIP if siglip else CLIP)(**towers)
    tokenizer = open_clip.tokenizer.SimpleTokenizer(context_length=config["text_cfg"]["context_length"])
    captions = torch.stack([tokenizer([caption.replace("{}", name) for caption in CAPTIONS]) for name in data.classes])
    training = TrainingImages.of(data, "train")
    preprocess = preprocess_config()
    pixels = np.stack([training.load(i, pixels_from_preprocess(preprocess)) for i in range(len(training))])
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, weight_decay=0.05)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 1e-3, total_steps=steps)
    loss_of = SigLipLoss() if siglip else ClipLoss()
    random = np.random.default_rng(seed)
    normalization = normalization_from_preprocess(preprocess)
    model.train()
    for _ in range(steps):
        images = _draw_images(pixels, training.labels, len(data.classes), normalization, random)
        chosen = torch.from_numpy(random.integers(0, len(CAPTIONS), len(data.classes)))
        texts = model.encode_text(captions[torch.arange(len(captions)), chosen], normalize=True)
        embeddings = model.encode_image(images, normalize=True)
        extra = {"logit_bias": model.logit_bias} if siglip else {}
        losses = [loss_of(part, texts, model.logit_scale.exp(), **extra) for part in embeddings.chunk(_GROUPS)]
        loss = torch.stack(losses).mean()
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        schedule.step()
        with torch.no_grad():
            model.logit_scale.clamp_(max=float(np.log(100)))  # as CLIP was trained
    _write(model.eval(), config, preprocess, folder, force=force)
    return float(loss.detach())


def _draw_images(
    pixels: NDArray[np.uint8],
    labels: NDArray[np.int64],
    classes: int,
    normalization: Normalization,
    random: np.random.Generator,
) -> torch.Tensor:
    """(groups x classes, 3, H, W): one training image of each class in each group, mirrored and shifted at random."""
    import torch

    chosen = [random.choice(np.flatnonzero(labels == number)) for _ in range(_GROUPS) for number in range(classes)]
    batch = pixels[np.array(chosen)]
    mirrored = random.random(len(batch)) < 0.5
    batch[mirrored] = batch[mirrored, :, ::-1]
    shifts = random.integers(-_SHIFT_PX, _SHIFT_PX + 1, (len(batch), 2))
    moved = np.stack([np.roll(each, shift, axis=(0, 1)) for each, shift in zip(batch, shifts, strict=True)])
    by_caller = Normalization(normalization.mean, normalization.std, "caller")
    return torch.from_numpy(np.asarray(to_input(moved, by_caller)))


def _write(
    model: torch.nn.Module, config: dict[str, Any], preprocess: dict[str, Any], folder: Path, *, force: bool
) -> None:
    from safetensors.torch import save

    with writing(folder, force=force) as draft:
        draft.mkdir()
        document = {"model_cfg": config, "preprocess_cfg": preprocess}
        (draft / CONFIG).write_text(json.dumps(document, indent=1) + "\n")
        state = {name: tensor.contiguous() for name, tensor in model.state_dict().items()}
        (draft / "open_clip_model.safetensors").write_bytes(save(state))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, metavar="DATA")
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="DIR")
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--siglip", action="store_true", help="sigmoid loss, with a bias")
    parser.add_argument("--force", action="store_true")
    arguments = parser.parse_args()
    try:
        import_open_clip()
        with unlogged():
            loss = train_small_clip(
                open_data(arguments.data, arguments.seed),
                arguments.output,
                steps=arguments.steps,
                seed=arguments.seed,
                siglip=arguments.siglip,
                force=arguments.force,
            )
    except EdgeclfError as error:
        sys.exit(f"small_clip: {error}")
    print(f"wrote {arguments.output}: loss {loss:.3f} after {arguments.steps} steps", file=sys.stderr)


if __name__ == "__main__":
    main()
