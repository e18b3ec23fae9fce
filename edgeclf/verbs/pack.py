"""`edgeclf pack`: a bundle as one file, to be copied to a device."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from edgeclf.console import say, show, styled, suggest, write_json
from edgeclf.verbs.shared.options import AsJson, BundlePath, Force, shell_word
from edgeclf.verbs.verify import USES
from edgeclf.wording import size
from edgeclf_runtime.errors import UsageError

if TYPE_CHECKING:
    from edgeclf_runtime.bundle.bundle import Bundle


def pack(
    bundle: BundlePath,
    output: Annotated[
        str | None,
        typer.Option(
            "--output", "-o", metavar="FILE", help="File for the packed bundle.", show_default="BUNDLE.tar beside it"
        ),
    ] = None,
    secret_key: Annotated[
        Path | None,
        typer.Option(
            "--sign",
            metavar="KEY",
            help="minisign secret key to sign with, into NAME.minisig beside the file; `minisign -G -W` makes one.",
            show_default=False,
        ),
    ] = None,
    force: Force = False,
    as_json: AsJson = False,
) -> None:
    """Pack a bundle into one .tar file, for copying to a device.

    build, verify, predict and inspect take the .tar as it is. The same bundle always gives the same bytes. A signature
    (--sign; extra "sign") is for `edgeclf verify --key`, and for minisign itself.

    \b
    Examples:
      edgeclf pack bundles/cats-onnx
      edgeclf pack bundles/cats-onnx --sign edgeclf.key
    """
    from edgeclf_runtime.bundle.bundle import Bundle
    from edgeclf_runtime.bundle.bundle import pack as write_tar
    from edgeclf_runtime.hashing import hash_file

    opened = Bundle.open(bundle)
    destination = _destination(opened.path, output)
    signed = None if secret_key is None else _sign(opened, secret_key, destination, force=force)
    packed = write_tar(opened, destination, force=force)
    packed_bytes, digest = packed.stat().st_size, hash_file(packed)
    if signed is not None:
        signed.write(force=force)
    if as_json:
        about = {"path": str(packed), "bytes": packed_bytes, "sha256": digest, "bundle_digest": opened.digest}
        write_json("pack", {**about, "signature": None if signed is None else signed.about})
    else:
        show(styled(f"{packed}  {size(packed_bytes)}"), styled(f"sha256 {digest}"))
    if signed is not None:
        say(f"wrote {signed.place}, signed with the key {signed.key_id}", style="dim")
    name = shell_word(packed.name)
    check = f"edgeclf verify {name}" + (" --key PUB" if signed else "")
    lines = [check, f"edgeclf {USES[opened.manifest.task].format(name)}"]
    there = [f"{line:<{max(map(len, lines))}}    (there)" for line in lines]
    if opened.manifest.state == "portable":
        there = [f"edgeclf build {name}{' --key PUB' if signed else ''}    (there)"]
    files = [packed] if signed is None else [packed, signed.place]
    suggest(f"scp {' '.join(shell_word(str(file)) for file in files)} DEVICE:", *there)


@dataclass(frozen=True, slots=True)
class _Signed:
    """A signature that was made and has to be written."""

    place: Path
    key_id: str
    content: bytes

    @property
    def about(self) -> dict[str, str]:
        return {"path": str(self.place), "key_id": self.key_id}

    def write(self, *, force: bool) -> None:
        from edgeclf_runtime.bundle.atomic_write import writing

        with writing(self.place, force=force) as draft:
            draft.write_bytes(self.content)


def _sign(bundle: Bundle, secret_key: Path, packed: Path, *, force: bool) -> _Signed:
    """The signature for the bundle that becomes `packed`: what can go wrong does so before that is written."""
    from edgeclf_runtime.deploy.signatures import read_secret_key, sign, signature_path

    key, place = read_secret_key(secret_key), signature_path(packed)
    if place.exists() and not force:
        raise UsageError(f"{place} exists; give --force to replace it, or another --output")
    return _Signed(place, key.id, sign(bundle, key))


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
