"""What a manifest records of a bundle's features: the files that a prediction needs, and those that prove them."""

from __future__ import annotations

from dataclasses import dataclass

CLASS_MEANS, INDEX, INDEX_NAMES = "features/class_means.npy", "features/index.npy", "features/index.json"
REFERENCE_FEATURES, OWN_FEATURES = "golden/features.npy", "golden/own_features.npy"


@dataclass(frozen=True, slots=True)
class FeatureInfo:
    """Features are the second output: what the head takes, a row of numbers an image.

    Attributes
    ----------
    images, images_sha256
        Training images that the class means are of, and the digest of their hashes.
    class_means
        .npy file, (classes, width) float32: the mean of the features of the images that show each class, as this bundle
        computes them.
    reference, own
        .npy files of the golden images' features: the reference's, and the bundle's own where it was made.
    index, index_names
        .npy file of features of training images (float16, of length 1), and the .json file with their paths and
        labels, for `predict --nearest`; None: it keeps none.
    """

    images: int
    images_sha256: str
    class_means: str = CLASS_MEANS
    reference: str = REFERENCE_FEATURES
    own: str = OWN_FEATURES
    index: str | None = None
    index_names: str | None = None
