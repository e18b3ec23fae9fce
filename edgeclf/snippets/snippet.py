"""A short, whole program in the language of a device, with one bundle's model, pixel contract and scores in it."""

from __future__ import annotations

import re
from importlib.resources import files
from typing import Literal, get_args

from edgeclf.inspection import describe_normalization, describe_pixels
from edgeclf_runtime.bundle.bundle import Bundle
from edgeclf_runtime.bundle.manifest import Manifest
from edgeclf_runtime.errors import UsageError
from edgeclf_runtime.images.pixels import Pixels

Language = Literal["kotlin", "swift", "python", "c++"]
LANGUAGES: tuple[Language, ...] = get_args(Language)
_FILES: dict[Language, str] = {"kotlin": "kt", "swift": "swift", "python": "py", "c++": "cc"}
_SUFFIX = ".tflite"
_PLACE = re.compile(r"@([A-Z_]+)@")


def snippet(bundle: Bundle, language: Language) -> str:
    """The program. Raises UsageError for a bundle without a .tflite that takes pixels and gives logits."""
    manifest = bundle.manifest
    models = [path for path in manifest.files if path.endswith(_SUFFIX) and "/" not in path]
    if not models:
        raise UsageError(
            f"snippets show how a phone or board runs a .tflite, and {bundle.path} is a bundle for {manifest.target}; "
            "export it with -t litert, or use edgeclf_runtime.Classifier"
        )
    pixels = manifest.pixels
    if manifest.task != "classify" or pixels is None or manifest.inputs[0].dtype != "uint8":
        raise UsageError(
            f"snippets are for classifiers that take uint8 pixels, and {bundle.path} is another: task "
            f"{manifest.task}, input {manifest.inputs[0].dtype}; leave --input out when you export"
        )
    text = files("edgeclf.snippets").joinpath(f"classify.{_FILES[language]}.txt").read_text(encoding="utf-8")
    values = {**_model(bundle, models[0]), **_pixels(pixels), **_SCORES[manifest.scores], **_choice(manifest)}
    text = _PLACE.sub(lambda place: values[place[1]], text)
    return _PLACE.sub(lambda place: values[place[1]], text)  # the scores of C++ have a place of their own


def _model(bundle: Bundle, model: str) -> dict[str, str]:
    manifest = bundle.manifest
    return {
        "NAME": _plain(bundle.name),
        "FOLDER": re.sub(r'["\\$]', "", _plain(bundle.name)),
        "MODEL": model,
        "MODEL_SHA": f"SHA-256 of the model {manifest.files[model].sha256[:12]}",
        "STEM": model.removesuffix(_SUFFIX),
        "CLASSES": str(len(manifest.labels)),
        "TEMPERATURE": f"{manifest.temperature:.9g}" if manifest.temperature % 1 else f"{manifest.temperature:.1f}",
        "NORMALISATION": describe_normalization(manifest.normalization),
    }


def _pixels(pixels: Pixels) -> dict[str, str]:
    height, width = pixels.crop_px
    return {
        "HEIGHT": str(height),
        "WIDTH": str(width),
        "PIXELS": describe_pixels(pixels),
        "INTERPOLATION": pixels.interpolation.upper(),
        "INTERPOLATION_WORD": f"Pillow's {pixels.interpolation}",
        "FILTER": "false" if pixels.interpolation == "nearest" else "true",
        **_colour("PADDING", pixels.padding),
        **_colour("BACKGROUND", pixels.background),
        **_size(pixels),
    }


def _choice(manifest: Manifest) -> dict[str, str]:
    """What each program shows: the best five classes, or all labels that reach their thresholds."""
    if not manifest.multi_label:
        return _BEST_FIVE
    least = ", ".join(f"{each:.9g}" for each in manifest.thresholds.per_class or ())
    floats = ", ".join(f"{each:.9g}f" if each % 1 else f"{each:.1f}f" for each in manifest.thresholds.per_class or ())
    return {
        "CHOSEN": "All labels that reach their thresholds, with their scores, 0 to 1; an image may have none."
        + ("" if manifest.thresholds.energy is None else " What finds images unknown is left out."),
        "TOP_KOTLIN": "",
        "TOP_SWIFT": "",
        "CHOICE_PYTHON": f"predicted = np.flatnonzero(scores >= np.array([{least}]))\n"
        "for index in predicted[np.argsort(-scores[predicted])]:",
        "CHOICE_KOTLIN": f"val least = listOf({floats})\n"
        "        return labels.zip(scores).filterIndexed { place, each -> each.second >= least[place] }"
        ".sortedByDescending { it.second }",
        "CHOICE_SWIFT": f"let least: [Float] = [{least}]\n"
        "        return zip(zip(labels, scores), least).filter { $0.0.1 >= $0.1 }.map { $0.0 }.sorted { $0.1 > $1.1 }",
        "CHOICE_CC": f"const std::vector<float> least = {{{floats}}};\n"
        "  for (size_t i = 0; i < order.size(); ++i)\n"
        "    if (scores[order[i]] >= least[order[i]])",
    }


def _colour(name: str, levels: tuple[int, int, int]) -> dict[str, str]:
    """As a triple of 0 to 255, and each channel as 0 to 1."""
    channels = {f"{name}_{channel}": f"{level / 255:.6g}" for channel, level in zip("RGB", levels, strict=True)}
    return {name: f"({', '.join(map(str, levels))})", **channels}


def _size(pixels: Pixels) -> dict[str, str]:
    """The width and height after the resize, in each language; one of Pixels' rules each, with its own rounding."""
    height, width = pixels.resize_px
    if pixels.resize == "exact":
        return {
            "SIZE_PYTHON": f"size = ({width}, {height})",
            "SIZE_KOTLIN": f"val (width, height) = Pair({width}, {height})",
            "SIZE_SWIFT": f"let (width, height) = ({width}.0, {height}.0)",
        }
    if pixels.resize == "shorter":
        return {
            "SIZE_PYTHON": "short = min(width, height)\n"
            f"    size = (width * {height} // short, height * {height} // short)",
            "SIZE_KOTLIN": "val short = min(image.width, image.height)\n"
            f"        val (width, height) = Pair(image.width * {height} / short, image.height * {height} / short)",
            # whole products, divided once: a ratio's own rounding may lead to a pixel less
            "SIZE_SWIFT": "let short = min(w, h)\n"
            f"        let width = (w * {height} / short).rounded(.down)\n"
            f"        let height = (h * {height} / short).rounded(.down)",
        }
    better = "max" if pixels.resize == "fit" else "min"
    return {
        "SIZE_PYTHON": f"ratio = {better}(height / {height}, width / {width})\n"
        "    size = (round(width / ratio), round(height / ratio))",
        "SIZE_KOTLIN": f"val ratio = {better}(image.height / {height}.0, image.width / {width}.0)\n"
        "        val (width, height) = Pair(round(image.width / ratio).toInt(), round(image.height / ratio).toInt())",
        "SIZE_SWIFT": f"let ratio = {better}(h / {height}, w / {width})\n"
        "        let (width, height) = ((w / ratio).rounded(.toNearestOrEven), (h / ratio).rounded(.toNearestOrEven))",
    }


def _plain(name: str) -> str:
    """Printable on one line: a folder's name stands in a comment."""
    return "".join(letter if letter.isprintable() else "?" for letter in name)


_BEST_FIVE = {
    "CHOSEN": "The best classes with their scores, 0 to 1.",
    "TOP_KOTLIN": ", top: Int = 5",
    "TOP_SWIFT": ", top: Int = 5",
    "CHOICE_PYTHON": "for index in np.argsort(-scores)[:5]:",
    "CHOICE_KOTLIN": "return labels.zip(scores).sortedByDescending { it.second }.take(top)",
    "CHOICE_SWIFT": "return Array(zip(labels, scores).sorted { $0.1 > $1.1 }.prefix(top))",
    "CHOICE_CC": "for (size_t i = 0; i < std::min<size_t>(5, order.size()); ++i)",
}
_SCORES = {
    "softmax": {
        "SCORES_PYTHON": "np.exp(logits - logits.max()) / np.exp(logits - logits.max()).sum()",
        "SCORES_KOTLIN": "val highest = logits.max()\n"
        "        val powers = logits.map { exp(it - highest) }\n"
        "        val sum = powers.sum()\n"
        "        val scores = powers.map { it / sum }",
        "SCORES_SWIFT": "let highest = logits.max()!\n"
        "        let powers = logits.map { exp($0 - highest) }\n"
        "        let sum = powers.reduce(0, +)\n"
        "        let scores = powers.map { $0 / sum }",
        "SCORES_CC": "const float highest = *std::max_element(scores.begin(), scores.end());\n"
        "  float sum = 0;\n"
        "  for (float& each : scores) sum += each = std::exp((each - highest) / @TEMPERATURE@f);\n"
        "  for (float& each : scores) each /= sum;",
    },
    "sigmoid": {
        "SCORES_PYTHON": "1 / (1 + np.exp(-logits))",
        "SCORES_KOTLIN": "val scores = logits.map { 1 / (1 + exp(-it)) }",
        "SCORES_SWIFT": "let scores = logits.map { 1 / (1 + exp(-$0)) }",
        "SCORES_CC": "for (float& each : scores) each = 1 / (1 + std::exp(-each / @TEMPERATURE@f));",
    },
}
