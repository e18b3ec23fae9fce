"""The ladder: ranges with biases corrected, the worst layers in float, learning, 16 bits; the first pass ends it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path

from edgeclf_export.graph.layers import family
from edgeclf_export.quantize.accuracy_gate import too_few_to_pass
from edgeclf_export.quantize.calibrated_network import CalibratedNetwork
from edgeclf_export.quantize.learning.learned_network import Learning
from edgeclf_export.quantize.sensitivity import worst
from edgeclf_export.quantize.trial import Trial, Trials, copy_model
from edgeclf_export.targets.quantizer import Recipe
from edgeclf_export.targets.target import Built
from edgeclf_runtime.backends.audit import LEAST_SHARE
from edgeclf_runtime.bundle.quantization_report import Sensitivity
from edgeclf_runtime.progress import Progress

LEFT_IN_FLOAT = (0.05, 0.15, 0.3)  # shares of the layers, most sensitive first
_AUDIT_MARGIN = 0.01  # engines fold layers, so that their count of MACs differs a little from the float graph's
MOST_RESPONSIBLE = 5
REST_IN_BF16 = " + bf16"  # ends the name of such a step


def search_int8(
    trials: Trials, network: CalibratedNetwork, progress: Progress, learning: Learning | None = None
) -> list[Trial]:
    """The int8 steps that were tried, in order; the last one passes the gate, or none does.

    Where the evaluation images are too few for any step to pass, the search ends at the first that does not fail.
    `learning`: the last step, where it is wanted; it is usable only if it passes.
    """
    tried: list[Trial] = []
    for recipe in _recipes(trials, network, tried):
        trial = _attempt(trials, recipe, partial(trials.quantizer.write, network, recipe), progress)
        tried.append(trial)
        if trial.step.holds or (trial.is_usable and _no_step_can_pass(trials, trial)):
            return tried
    if learning is not None:
        recipe = Recipe("min-max", learned=learning.options.minutes)  # its biases have learned, too

        def write(folder: Path) -> Built:
            return trials.quantizer.write(learning.network, recipe, folder)

        tried.append(replace(_attempt(trials, recipe, write, progress), has_to_pass=True))
    return tried


def _attempt(trials: Trials, recipe: Recipe, write: Callable[[Path], Built], progress: Progress) -> Trial:
    progress.step(f"{trials.target.name}: {recipe.did}")
    return trials.attempt(recipe.name, recipe.did, write, leave=recipe.leave)


def lower_precision(trials: Trials, progress: Progress) -> list[Trial]:
    """The steps of 16 bits, up to the first that this machine's engine computes in."""
    tried: list[Trial] = []
    for precision in trials.quantizer.lower:
        tried.append(float_step(trials, precision, progress))
        if tried[-1].manifest is not None:
            break
    return tried


def rest_in_bf16(trials: Trials, kept: Trial | None, lower: list[Trial], progress: Progress) -> list[Trial]:
    """The kept int8 model once more, with what is not quantized computed in bf16: worth a try for transformers alone.

    Softmax, LayerNorm and GELU are float there; a quantized convolutional network leaves next to nothing. Nothing is
    tried where no step of 16 bits (`lower`) showed that the machine computes in bf16.
    """
    import onnx

    if kept is None or kept.manifest is None or not trials.quantizer.rest_in_bf16:
        return []
    computed = {trial.manifest.compute_precision for trial in lower if trial.manifest is not None}
    if "bf16" not in computed or family(onnx.load_from_string(trials.export_graph.onnx)) != "transformer":
        return []

    def write(folder: Path) -> Built:
        copy_model(kept.folder, folder)
        return Built("int8", "bf16")

    name = kept.step.name + REST_IN_BF16
    progress.step(f"{trials.target.name}: {name}")
    did = f"{kept.step.did}, the rest computed in 16 bits"
    return [trials.attempt(name, did, write, leave=kept.step.float_layers)]


def float_step(trials: Trials, precision: str, progress: Progress) -> Trial:
    """A step that is not quantized."""
    progress.step(f"{trials.target.name}: {precision}")
    did = {"fp32": "as it was trained", "fp16": "weights stored in 16 bits", "bf16": "computed in 16 bits"}[precision]
    return trials.attempt(precision, did, partial(trials.target.build, trials.export_graph, precision))


def responsible_layers(network: CalibratedNetwork, tried: list[Trial]) -> tuple[Sensitivity, ...]:
    """The most sensitive layers, where the ladder had to measure them."""
    measured = any(trial.step.float_layers for trial in tried) or not any(trial.is_usable for trial in tried)
    return network.sensitivities[:MOST_RESPONSIBLE] if measured else ()


def best(tried: list[Trial]) -> Trial | None:
    """The step that passes, else the usable one whose bound is nearest to the gate."""
    usable = [trial for trial in tried if trial.is_usable]
    return max(usable, key=lambda trial: (trial.step.holds, _bound(trial)), default=None)


def _recipes(trials: Trials, network: CalibratedNetwork, tried: list[Trial]) -> Iterator[Recipe]:
    """The recipes to try; each builds on the best of those before it, which `tried` holds meanwhile.

    Biases are corrected from the first on: that takes seconds and brings back most of what is lost. It does not always
    help, so the best ranges get a step without it, and where that is better the others do, too. Where correction is
    slow, as NNCF's is, one step without it comes first: of seven networks, five passed with that (ladder.json).
    """
    quantizer = trials.quantizer
    known: dict[str, Recipe] = {}
    if quantizer.corrects_biases and not quantizer.corrects_first:
        plain = Recipe(quantizer.methods[0])
        known[plain.name] = plain
        yield plain
    for method in quantizer.methods:
        recipe = Recipe(method, quantizer.corrects_biases)
        known[recipe.name] = recipe
        yield recipe
    if quantizer.corrects_biases:
        best_ranges = _best_recipe(tried, known).ranges
        for method in sorted(quantizer.methods, key=lambda method: method != best_ranges):
            plain = Recipe(method)
            if plain.name not in known:
                known[plain.name] = plain
                yield plain
            if _best_recipe(tried, known).corrected:
                break
    if not quantizer.leaves_layers:
        return
    start = _best_recipe(tried, known)
    int8 = min((trial.step.shares.get("int8", 0.0) for trial in tried if trial.step.shares), default=1.0)
    spare = int8 - LEAST_SHARE - _AUDIT_MARGIN
    left: tuple[str, ...] = ()
    for share in LEFT_IN_FLOAT:
        chosen = worst(network.sensitivities, share, spare)
        if len(chosen) > len(left):
            left = chosen
            yield Recipe(start.ranges, start.corrected, left)


def _best_recipe(tried: list[Trial], known: dict[str, Recipe]) -> Recipe:
    """The best recipe of those tried: by the bound of top-1, then by the divergence of scores."""
    evaluated = [t for t in tried if t.step.name in known and t.step.judged is not None]
    if not evaluated:
        return next(iter(known.values()))
    return known[max(evaluated, key=_merit).step.name]


def _merit(trial: Trial) -> tuple[float, float]:
    return _bound(trial), -(trial.step.judged.mean_kl if trial.step.judged else 0.0)


def _bound(trial: Trial) -> float:
    return trial.step.judged.bound_points if trial.step.judged else float("-inf")


def _no_step_can_pass(trials: Trials, trial: Trial) -> bool:
    """Whether more steps would show no more: the images are too few, and at most one prediction changed."""
    evaluation = trial.step.judged
    if evaluation is None or not too_few_to_pass(evaluation.images, trials.gate, evaluation.value_reference):
        return False
    lost = evaluation.right_to_wrong - evaluation.wrong_to_right
    return lost <= 1 or -evaluation.change_points <= evaluation.margin_points
