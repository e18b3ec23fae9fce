"""Names of backbones: which library has one, and the closest names where none has. Nothing is downloaded for it."""

from __future__ import annotations

from difflib import get_close_matches

from edgeclf_runtime.errors import UsageError


def resolve_backbone(name: str) -> tuple[str, str]:
    """("timm" or "torchvision", registered name); timm's may say which weights, ARCHITECTURE.TAG.

    Raises UsageError with the closest names.
    """
    import timm
    from torchvision import models

    known = {"timm": timm.list_models(), "torchvision": models.list_models(module=models)}
    library, _, short = name.rpartition("/")
    if library:
        if library not in known:
            raise UsageError(f"no model library {library!r}; choose one of {', '.join(known)}")
        known = {library: known[library]}
    for candidate, registered in known.items():
        if short in registered:
            return candidate, short
    architecture, _, tag = short.partition(".")
    if tag and architecture in known.get("timm", ()):
        _check_tag(architecture, tag)
        return "timm", short
    close = get_close_matches(short, sorted({*known.get("timm", ()), *known.get("torchvision", ())}))
    advice = f"did you mean {', '.join(close)}?" if close else "`edgeclf models` lists those that suit an edge device"
    raise UsageError(f"no model {short!r} in {' or '.join(known)}; {advice}")


def _check_tag(architecture: str, tag: str) -> None:
    import timm

    tags = [name.partition(".")[2] for name in timm.list_pretrained(f"{architecture}.*")]
    if tag not in tags:
        choice = f"choose one of {', '.join(tags)}" if tags else "timm publishes none"
        raise UsageError(f"no weights {tag!r} of {architecture}; {choice}")
