"""Properties of the decoder: whatever the bytes, they are an image within the limits, or an ImageError."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeclf_benchmarks.records.fuzz.odd_inputs import damaged, images, with_png_checksums
from edgeclf_runtime.errors import ImageError
from edgeclf_runtime.images.decode import decode
from edgeclf_runtime.images.limits import Limits

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:PIL")
FILES = images()
LIMITS = Limits(megapixels=0.25, megabytes=0.1)
damaged_files = st.integers(0, 2**32).map(lambda seed: damaged(random.Random(seed), FILES, with_png_checksums))
cut_files = st.sampled_from(FILES).flatmap(lambda data: st.integers(0, len(data)).map(lambda end: data[:end]))
openings = st.sampled_from([data[:24] for data in FILES])


@given(st.one_of(damaged_files, cut_files, st.binary(max_size=200), st.tuples(openings, st.binary()).map(b"".join)))
def test_any_bytes_are_an_rgb_image_within_the_limits_or_an_image_error(data: bytes) -> None:
    reserved: list[int] = []
    try:
        image = decode(data, limits=LIMITS, reserve=reserved.append).image
    except ImageError as error:
        assert str(error).strip() and "\n" not in str(error)
    else:
        assert image.mode == "RGB"
        assert image.width * image.height <= LIMITS.megapixels * 1e6
        assert sum(reserved) >= image.width * image.height * 3, "decoded without its share of the memory budget"
    assert all(each <= 12 * LIMITS.megapixels * 1e6 for each in reserved)


@pytest.mark.parametrize("data", FILES, ids=range(len(FILES)))
def test_the_files_that_are_damaged_here_are_read_when_they_are_whole(data: bytes) -> None:
    assert decode(data).image.size == ((17, 24) if data is FILES[0] else (24, 17))
