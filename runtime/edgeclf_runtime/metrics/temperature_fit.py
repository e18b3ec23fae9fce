"""What is known of a temperature: the images that it was fitted on, and what it did to images that it had not seen."""

from __future__ import annotations

import math
from dataclasses import dataclass

ENOUGH_WRONG = 10  # predictions that are wrong: with as many, the data weigh as much as the prior


@dataclass(frozen=True, slots=True)
class TemperatureFit:
    """A fitted temperature with its evidence.

    Attributes
    ----------
    temperature
        1 where a fitted one does not lower the negative log-likelihood (NLL) of held-out images.
    images, wrong
        Images that it was fitted on, and those whose prediction is wrong.
    nll_before, nll_after
        NLL in nats, cross-validated among these images: without a temperature, and with one fitted on the other folds.
    """

    temperature: float
    images: int
    wrong: int
    nll_before: float
    nll_after: float

    @property
    def images_needed(self) -> int | None:
        """How many images would have enough wrong predictions; None: these have."""
        if self.wrong >= ENOUGH_WRONG:
            return None
        rate = (self.wrong + 1) / (self.images + 2)  # Laplace's: of no error in 54 images follows no rate of 0
        return math.ceil(ENOUGH_WRONG / rate / 10) * 10

    @property
    def caution(self) -> str | None:
        """What limits the fit, in words; None: nothing does."""
        if self.images_needed is None:
            return None
        seen = f"{'none' if not self.wrong else f'only {self.wrong}'} of {self.images:,} images"
        held = "so it is 1" if self.temperature == 1 else "so it is held near 1"
        return (
            f"{seen} {'are' if self.wrong > 1 else 'is'} wrong, too few to fit a temperature freely, {held}; "
            f"about {self.images_needed:,} validation images would do"
        )

    def __str__(self) -> str:
        on = f"{self.images:,} images, {self.wrong:,} of them predicted wrongly"
        if self.temperature == 1:
            return f"temperature 1: one fitted on {on}, does not lower the NLL of held-out ones ({self.nll_before:.3f})"
        return (
            f"temperature {self.temperature:.3g}, fitted on {on}: NLL of held-out ones {self.nll_before:.3f} before, "
            f"{self.nll_after:.3f} after"
        )
