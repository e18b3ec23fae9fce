"""`edgeclf pack`: a bundle as one file, ready for the road."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from edgeclf.console import show, size, styled, suggest, write_json
from edgeclf.verbs.options import AsJson, BundlePath, Force, shell_word
from edgeclf.verbs.verify import USES
from edgeclf_runtime.errors import UsageError


def pack(
    bundle: BundlePath,
    output: Annotated[
        str | None,
        typer.Option("--output", "-o", metavar="FILE", help="The file to write.", show_default="BUNDLE.tar beside it"),
    ] = None,
    force: Force = False,
    as_json: AsJson = False,
) -> None:
    """Make one .tar of a bundle, for copying to a device.

    build, verify, predict and inspect take the .tar as it is. The same bundle always gives the same bytes.

    \b
    Example:
      edgeclf pack bundles/cats-onnx
    """
    from edgeclf_runtime.bundle import Bundle
    from edgeclf_runtime.bundle import pack as write_tar
    from edgeclf_runtime.writer import hash_file

    opened = Bundle.open(bundle)
    packed = write_tar(opened, _destination(opened.path, output), force=force)
    packed_bytes, digest = packed.stat().st_size, hash_file(packed)
    if as_json:
        write_json(
            "pack", {"path": str(packed), "bytes": packed_bytes, "sha256": digest, "bundle_digest": opened.digest}
        )
    else:
        show(styled(f"{packed}  {size(packed_bytes)}"), styled(f"sha256 {digest}"))
    name = shell_word(packed.name)
    lines = [f"edgeclf verify {name}", f"edgeclf {USES[opened.manifest.task].format(name)}"]
    there = [f"{line:<{max(map(len, lines))}}    (there)" for line in lines]
    if opened.manifest.state == "portable":
        there = [f"edgeclf build {name}    (there)"]
    suggest(f"scp {shell_word(str(packed))} DEVICE:", *there)


def _destination(bundle: Path, output: str | None) -> Path:
    """Where the tar goes; a folder as `output` means a file in it. Raises UsageError inside the bundle."""
    if not bundle.is_dir() and output is None:
        raise UsageError(f"{bundle} is packed already; copy it as it is, or name another place with --output")
    name = bundle.resolve().name
    default = name if name.endswith(".tar") else f"{name}.tar"
    place = bundle.with_name(default) if output is None and bundle.name else Path(output or bundle.resolve().parent)
    if place.is_dir():
        place = place / default
    if place.is_dir():
        raise UsageError(f"{place} is a folder; name a file with --output")
    if bundle.is_dir() and bundle.resolve() in place.resolve().parents:
        raise UsageError(f"{place} lies inside the bundle; name a place outside it with --output")
    return place
