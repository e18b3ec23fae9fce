"""VICReg: two views of an image are drawn together, different images apart, without any labels (arXiv:2105.04906)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

INVARIANCE, VARIANCE, COVARIANCE = 25.0, 25.0, 1.0  # the paper's weights of the three terms
_EPSILON = 1e-4
_LEAST_STD, _LEAST_RANK = 0.1, 1.5


@dataclass(frozen=True, slots=True)
class Terms:
    """The three terms, not yet weighted, of one batch."""

    invariance: torch.Tensor
    variance: torch.Tensor
    covariance: torch.Tensor

    def loss(self, weights: tuple[float, float, float] = (INVARIANCE, VARIANCE, COVARIANCE)) -> torch.Tensor:
        return weights[0] * self.invariance + weights[1] * self.variance + weights[2] * self.covariance


def vicreg_terms(one: torch.Tensor, other: torch.Tensor) -> Terms:
    """The terms for the embeddings (N, D) of two views of N images, N at least 2.

    As the authors' code has them, which differs from the paper's formulas by constants: invariance is the mean squared
    difference over images and dimensions, variance the mean over both views of what each dimension's deviation lacks
    to 1, covariance the sum over both views of all squared covariances of different dimensions over D.
    """
    import torch

    one, other = one.float(), other.float()
    invariance = torch.nn.functional.mse_loss(one, other)
    variance = (_lacking(one) + _lacking(other)) / 2
    return Terms(invariance, variance, _between_dimensions(one) + _between_dimensions(other))


def _lacking(embeddings: torch.Tensor) -> torch.Tensor:
    deviation = (embeddings.var(dim=0) + _EPSILON).sqrt()
    return (1 - deviation).relu().mean()


def _between_dimensions(embeddings: torch.Tensor) -> torch.Tensor:
    centred = embeddings - embeddings.mean(dim=0)
    covariance = centred.T @ centred / (len(centred) - 1)
    return (covariance.square().sum() - covariance.diagonal().square().sum()) / centred.shape[1]


def build_expander(width: int, embedding: int, seed: int) -> torch.nn.Module:
    """(N, width) features -> (N, embedding): three layers that only adaptation needs, discarded after it.

    The BatchNorm is in the expander, so that a backbone without any (a ViT) does not collapse either.
    """
    import torch

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return torch.nn.Sequential(
            torch.nn.Linear(width, embedding),
            torch.nn.BatchNorm1d(embedding),
            torch.nn.ReLU(),
            torch.nn.Linear(embedding, embedding),
            torch.nn.BatchNorm1d(embedding),
            torch.nn.ReLU(),
            torch.nn.Linear(embedding, embedding, bias=False),
        )


@dataclass(frozen=True, slots=True)
class Spread:
    """How far embeddings are from collapse.

    `std` is the mean over dimensions of the deviation over images: 0 where all images have one embedding, 1
    where VICReg's variance term is 0. `rank` is the effective number of dimensions in use, the exponential of the
    entropy of the singular values (RankMe, arXiv:2210.02885).
    """

    std: float
    rank: float

    @property
    def collapsed(self) -> bool:
        return not (self.std >= _LEAST_STD and self.rank >= _LEAST_RANK)


def measure_spread(embeddings: torch.Tensor) -> Spread:
    """Of the embeddings (N, D) of one batch."""
    import torch

    with torch.no_grad():
        found = embeddings.float()
        if not found.isfinite().all():
            return Spread(float("nan"), 0.0)
        values = torch.linalg.svdvals(found - found.mean(dim=0))
        shares = values / values.sum().clamp_min(torch.finfo(values.dtype).tiny)
        entropy = -(shares * shares.clamp_min(torch.finfo(values.dtype).tiny).log()).sum()
        return Spread(float(found.std(dim=0).mean()), float(entropy.exp()))
