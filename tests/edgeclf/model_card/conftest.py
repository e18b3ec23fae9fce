"""A tiny bundle that classifies colours, and images of them."""

from colours import bundle as bundle
from colours import classes as classes
from colours import make_bundle as make_bundle
from colours import photos as photos
