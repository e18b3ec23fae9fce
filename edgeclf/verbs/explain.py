"""`edgeclf explain`: which parts of an image a bundle's prediction rests on."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from edgeclf.console import Bars, grid, say, show, styled, suggest, write_json
from edgeclf.verbs.shared.opening import open_bundle, require_no_failed_proof, say_remarks, session_options
from edgeclf.verbs.shared.options import (
    OWN_DEVICE,
    AllowFailedProof,
    AsJson,
    BundlePath,
    ComputePrecision,
    Device,
    Force,
    MaxMegabytes,
    MaxMegapixels,
    RebuildIfStale,
    Threads,
    shell_word,
)
from edgeclf.wording import count
from edgeclf_runtime.errors import DataError

if TYPE_CHECKING:
    from edgeclf.explanation.explain import Explained


def explain(
    bundle: BundlePath,
    images: Annotated[list[str], typer.Argument(metavar="IMAGES", help="Image files and folders.")],
    label: Annotated[
        str | None,
        typer.Option(
            "--label",
            metavar="CLASS",
            help="Class whose score is explained.",
            show_default="the best of each image, or all labels that are predicted",
        ),
    ] = None,
    masks: Annotated[
        int,
        typer.Option(min=1, metavar="N", help="Masks per image; more make a map smoother and take as much longer."),
    ] = 200,
    batch_size: Annotated[
        int, typer.Option("--batch-size", "-b", min=1, metavar="N", help="Masked images per inference call.")
    ] = 16,
    seed: Annotated[int, typer.Option(min=0, metavar="N", help="Random seed of the masks.")] = 0,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output", "-o", metavar="DIR", help="Folder for pictures and page.", show_default="explanations/BUNDLE"
        ),
    ] = None,
    device: Device = OWN_DEVICE,
    threads: Threads = None,
    compute_precision: ComputePrecision = None,
    rebuild_if_stale: RebuildIfStale = False,
    allow_failed_proof: AllowFailedProof = False,
    max_megapixels: MaxMegapixels = 64,
    max_megabytes: MaxMegabytes = 64,
    force: Force = False,
    as_json: AsJson = False,
) -> None:
    """Show which parts of an image a prediction rests on.

    Parts of each image are hidden at random (RISE), and the bundle predicts what is left, on its own engine: where the
    score stays high, what is visible matters. Writes a picture per image, explanations.json and one page,
    explanations.html. Beside each map stand its deletion and insertion curves and those of a centre prior: a map that
    is no better than that says little. Where an image may have several labels, each that is predicted gets a picture,
    five at most; without any, the best class. An unreadable image gets one line on standard error; the exit code is
    then 3.

    \b
    Examples:
      edgeclf explain bundles/cats-onnx cat.jpg
      edgeclf explain bundles/cats-onnx wrong/ --label lynx --masks 400 -o why
    """
    from PIL import Image

    from edgeclf.explanation.explain import ExplainOptions, document_of
    from edgeclf.explanation.explain import explain as explain_images
    from edgeclf.verbs.shared.image_inputs import collect_images
    from edgeclf_runtime.classifier import Classifier
    from edgeclf_runtime.images.limits import Limits

    Image.MAX_IMAGE_PIXELS = None  # our own limits are stricter, and options
    found = collect_images(images)
    if not found.paths:
        raise DataError(f"no images found in {', '.join(found.empty)}")
    session, limits = session_options(device, threads, compute_precision), Limits(max_megapixels, max_megabytes)
    options = ExplainOptions(label, masks, batch_size, seed, session, limits, output, force)
    opened = open_bundle(bundle, session, rebuild_if_stale=rebuild_if_stale)
    with Classifier.open(opened, session, limits=limits) as classifier, Bars() as progress:
        require_no_failed_proof(classifier, unproven=allow_failed_proof)
        say_remarks(classifier.session.facts)
        explained = explain_images(classifier, found.paths, options, progress=progress)
    if as_json:
        write_json("explain", {"explained": document_of(explained), "folder": str(explained.folder)})
    else:
        _show(explained)
    _finish(explained)


def _show(found: Explained) -> None:
    from edgeclf.explanation.explanation import means

    kind = "class" if all(each.prediction.labels is None for each in found.images) else "label"
    table = grid("image", kind, "score", "deletion", "centre prior", "insertion", "centre prior", "")
    for each in found.images:
        if (why := each.explanation) is None:
            continue
        both = (why.curves, why.centre_curves)
        areas = [each.deletion_auc for each in both] + [each.insertion_auc for each in both]
        remark = "" if why.is_useful else styled("no better than the centre prior", "yellow")
        name, label = styled(Path(each.prediction.source).name), styled(why.label)
        table.add_row(name, label, f"{why.score:.3f}", *(f"{area:.3f}" for area in areas), remark)
    ours, centre = means(found.explanations)
    show(table, "", styled(f"mean area under deletion {ours:.3f}, of the centre prior {centre:.3f}; small is good"))


def _finish(found: Explained) -> None:
    from edgeclf.explanation.explain import PAGE

    seconds = [each.seconds for each in found.images if each.explanation is not None]
    images = len({each.prediction.source for each in found.images if each.explanation is not None})
    maps = "" if images == len(seconds) else f", {count(len(seconds), 'label')}"
    say(f"{count(images, 'image')}{maps}, {sum(seconds) / images:.1f} s an image", style="dim")
    say(f"wrote {found.folder}", style="dim")
    faults = [each.prediction for each in found.images if each.prediction.error is not None]
    for each in faults:
        say(f"edgeclf: {each.source}: {each.error}", style="red")
    suggest(f"open {shell_word(str(found.folder / PAGE))}")
    if faults:
        raise DataError(f"{len(faults)} of {count(len(found.images), 'image')} could not be read")
