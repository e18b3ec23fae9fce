"""edgeclf: image classifiers for edge devices, every artefact with its proof."""
