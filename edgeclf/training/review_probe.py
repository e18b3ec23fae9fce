"""The linear probe by which labels are reviewed."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sklearn.pipeline import Pipeline

_STRENGTH = 0.002  # inverse of the L2 penalty on standardised features; tried from 0.1 to 0.0003 on 300 to 5,000 images


def review_probe() -> Pipeline:
    """Logistic regression on standardised features, not yet fitted."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    return make_pipeline(StandardScaler(), LogisticRegression(C=_STRENGTH, max_iter=1000))
