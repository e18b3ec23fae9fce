"""Public data sets as folders of images: from installed packages and over the network."""
