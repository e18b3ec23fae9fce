"""The bundle: its manifest, files and hashes, its proof, and how one is written."""
