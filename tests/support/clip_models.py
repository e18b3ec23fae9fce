"""Small CLIP models in folders as model hubs have them, for the tests of several files."""

from __future__ import annotations

import atexit
import json
import shutil
from functools import cache
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

CAPTIONED = ("astronaut", "cat", "coffee")


@cache
def small_clip(*, siglip: bool = False, seed: int = 0) -> Path:
    """A folder with the CLIP of `edgeclf.training.small_clip`, one layer a tower; tests leave it as it is."""
    import torch
    from safetensors.torch import save

    from edgeclf.training.small_clip import model_config, preprocess_config
    from edgeclf_export.sources.clip.library import import_open_clip

    import_open_clip()
    from open_clip.model import CLIP, CustomTextCLIP

    config = model_config(siglip=siglip)
    config["vision_cfg"]["layers"] = config["text_cfg"]["layers"] = 1  # an export costs seconds a layer
    torch.manual_seed(seed)
    model: Any = (CustomTextCLIP if siglip else CLIP)(**{k: v for k, v in config.items() if k != "custom_text"})
    atexit.register(shutil.rmtree, scratch := mkdtemp(prefix="edgeclf-clip-"), ignore_errors=True)
    folder = Path(scratch) / "small"
    folder.mkdir()
    document = {"model_cfg": config, "preprocess_cfg": preprocess_config()}
    (folder / "open_clip_config.json").write_text(json.dumps(document))
    (folder / "open_clip_model.safetensors").write_bytes(save(model.state_dict()))
    return folder
