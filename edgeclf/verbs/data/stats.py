"""`edgeclf data stats`: channel statistics, image sizes and class counts of the training images."""

from __future__ import annotations

from typing import Annotated

import typer

from edgeclf.console import Bars, say, suggest, write_json
from edgeclf.verbs.data.source import MultiLabel, Source, several_labels_of
from edgeclf.verbs.shared import completion
from edgeclf.verbs.shared.data_tables import show_stats
from edgeclf.verbs.shared.options import AsJson, StrictImages, shell_word
from edgeclf.verbs.shared.passed_over import warn_left_out
from edgeclf.verbs.shared.value_range import BitDepth, Window, options_for, value_range_of


def stats(
    source: Source,
    model: Annotated[
        str | None,
        typer.Option(
            "--model",
            "-m",
            metavar="NAME",
            help="Backbone to compare with.",
            show_default="ImageNet's",
            autocompletion=completion.models,
        ),
    ] = None,
    multi_label: MultiLabel = False,
    bit_depth: BitDepth = None,
    window: Window = None,
    strict: StrictImages = False,
    as_json: AsJson = False,
) -> None:
    """Measure channel statistics, image sizes and class counts.

    Advises whether to normalize images with the statistics of the backbone or of the data. If there are splits, only
    the training split is read. Images that cannot be read are left out and counted. Where images have several labels,
    it shows which go together, which are rare, and how many images have none.

    \b
    Example:
      edgeclf data stats split.json --model mobilenetv3_large_100
    """
    from edgeclf.data.split import read_source
    from edgeclf.data.stats import IMAGENET, advise, backbone_statistics, measure

    backbone = IMAGENET if model is None else backbone_statistics(model)
    value_range = value_range_of(bit_depth, window)
    data = read_source(source, several_labels=several_labels_of(multi_label), progress=Bars())
    found = measure(data, value_range, strict=strict, progress=Bars())
    advice = advise(found, backbone)
    if as_json:
        write_json("data stats", {"source": str(source), "model": model, "statistics": found, "advice": advice})
    else:
        show_stats(found, advice)
    warn_left_out(found.left_out, found.images + len(found.left_out))
    for note in advice.notes:
        say(f"note: {note}")
    if found.split is None:
        say(
            "warning: no splits, so this includes the images to be tested on; `edgeclf data split` separates them",
            "yellow",
        )
    if found.deep.value_range is not None:  # all else was measured on images that are nearly black
        suggest(f"edgeclf data stats {shell_word(str(source))} {found.deep.remedy}")
        return
    shown = options_for(value_range)
    if multi_label:
        suggest(f"edgeclf data split {shell_word(str(source))} --multi-label -o split.json")
        return
    suggest(f"edgeclf train {shell_word(str(source))} --model {model or 'NAME'} --normalize {advice.normalize}{shown}")
