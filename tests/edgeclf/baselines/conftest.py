"""A baseline of crops of photographs."""

from photo_crops import crop as crop
from photo_crops import data as data
from photo_crops import made as made
from photo_crops import photos as photos
