"""Pixels against the evaluation transforms that networks were trained with: timm's, torchvision's and open_clip's."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import lru_cache
from importlib.metadata import version
from typing import Any

import numpy as np
import pytest
import tiny
from numpy.typing import NDArray
from PIL import Image

from edgeclf_runtime.backends.torchvision_guard import guard_torchvision
from edgeclf_runtime.images import pixels as pixels_module
from edgeclf_runtime.images.pixels import Pixels

Transform = Callable[[Image.Image], Any]

# backbones whose data config timm knows; those with a second value change it
TIMM: dict[str, dict[str, Any]] = {
    "resnet50.tv_in1k": {},  # bilinear, 0.875
    "resnet50.a1_in1k": {},  # bicubic, 0.95
    "mobilenetv3_large_100.ra_in1k": {},
    "efficientnet_b0.ra_in1k": {},
    "efficientnet_b2.ra_in1k": {},  # 256
    "efficientnet_b4.ra2_in1k": {},  # 320
    "tf_efficientnet_lite0.in1k": {},
    "vit_base_patch16_224.augreg_in21k_ft_in1k": {},
    "convnext_base.fb_in1k": {},
    "densenet121.ra_in1k": {},
    "vit_base_patch16_clip_224.openai_ft_in1k": {},
    "efficientvit_b1.r288_in1k": {"crop_mode": "squash"},
    "convnext_tiny.fb_in1k": {"crop_mode": "border"},
    "resnet18.a1_in1k": {"input_size": (3, 160, 288)},  # not square
    "levit_128.fb_dist_in1k": {"interpolation": "lanczos"},
}
TORCHVISION = {
    "resnet50": Pixels("shorter", (232, 232), (224, 224), "bilinear"),
    "alexnet": Pixels("shorter", (256, 256), (224, 224), "bilinear"),
    "mobilenet_v3_large": Pixels("shorter", (232, 232), (224, 224), "bilinear"),
    "efficientnet_b2": Pixels("shorter", (288, 288), (288, 288), "bicubic"),
    "efficientnet_v2_l": Pixels("shorter", (480, 480), (480, 480), "bicubic"),
}
CLIP = {
    "ViT-B-32": Pixels("shorter", (224, 224), (224, 224), "bicubic"),
    "ViT-L-14-336": Pixels("shorter", (336, 336), (336, 336), "bicubic"),
}
# (width, height): odd, smaller than any crop, slivers, portrait, exact ratios
SIZES = [
    (1, 1),
    (7, 5),
    (100, 75),
    (333, 501),
    (640, 427),
    (427, 641),
    (1920, 1280),
    (1279, 853),
    (225, 224),
    (50, 300),
]
PHOTOGRAPHS = ("china.jpg", "flower.jpg", "astronaut.png", "coffee.png", "chelsea.png", "rocket.jpg", "camera.png")


@lru_cache
def corpus() -> dict[str, Image.Image]:
    photographs = {name: Image.open(tiny.shipped(name)).convert("RGB") for name in PHOTOGRAPHS}
    return photographs | {f"{width}x{height}": made_image(width, height) for width, height in SIZES}


def made_image(width: int, height: int) -> Image.Image:
    """A photograph with noise in it, brought to a size: edges everywhere, so that a shift of a pixel shows."""
    with Image.open(tiny.shipped("china.jpg")) as photograph:
        base = np.asarray(photograph.convert("RGB").resize((width, height)), dtype=np.int16)
    noise = np.random.default_rng(width * height).integers(-60, 60, base.shape)
    return Image.fromarray(np.clip(base + noise, 0, 255).astype(np.uint8))


def timm_case(name: str, changes: dict[str, Any]) -> tuple[Transform, Pixels]:
    guard_torchvision()
    from timm.data import create_transform, resolve_data_config
    from timm.models import get_pretrained_cfg

    config = resolve_data_config(changes, pretrained_cfg=get_pretrained_cfg(name).to_dict())
    transform = create_transform(**config, is_training=False, use_prefetcher=True)
    height, width = config["input_size"][1:]
    scaled = tuple(math.floor(px / config["crop_pct"]) for px in (height, width))
    rule = {"squash": "exact", "border": "fit"}.get(config["crop_mode"])
    pixels = Pixels(
        rule or ("shorter" if height == width else "cover"),
        scaled,
        (height, width),
        config["interpolation"] if height == width else oblong_interpolation(config["interpolation"]),
        padding=tuple(round(255 * level) for level in config["mean"]) if rule == "fit" else (0, 0, 0),
    )
    return lambda image: np.asarray(transform(image)).transpose(1, 2, 0), pixels


def oblong_interpolation(wanted: str) -> str:
    """What timm resizes with for an oblong center crop: before 1.0.31 bilinear, whatever the config said."""
    release = tuple(int(number) for number in version("timm").split(".")[:3])
    return wanted if release >= (1, 0, 31) else "bilinear"


def torchvision_transform(name: str) -> Transform:
    guard_torchvision()
    from torchvision import models
    from torchvision.transforms import functional

    reference = models.get_model_weights(name).DEFAULT.transforms()

    def transform(image: Image.Image) -> NDArray[np.uint8]:
        resized = functional.resize(image, reference.resize_size, reference.interpolation, antialias=True)
        return np.asarray(functional.center_crop(resized, reference.crop_size))

    return transform


def clip_transform(name: str) -> Transform:
    guard_torchvision()
    from open_clip import get_model_config, image_transform
    from torchvision.transforms import Compose

    transform = image_transform(get_model_config(name)["vision_cfg"]["image_size"], is_train=False)
    on_pil_images = [step for step in transform.transforms if not type(step).__name__.endswith(("Tensor", "Normalize"))]
    return lambda image: np.asarray(Compose(on_pil_images)(image))


def assert_same_everywhere(transform: Transform, pixels: Pixels) -> None:
    different = {
        name: int(np.abs(np.asarray(transform(image), dtype=np.int16) - pixels.apply(image)).max())
        for name, image in corpus().items()
        if not np.array_equal(transform(image), pixels.apply(image))
    }
    assert different == {}


@pytest.fixture
def order_of_pillow_12(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pillow's resize as it was until 12 at any size: across first, then down (13 turns that round for some sizes)."""
    resize = Image.Image.resize

    def across_then_down(self: Image.Image, size: tuple[int, int], resample: Any = None, **options: Any) -> Image.Image:
        if "box" in options:  # the runtime's own: one pass each, in no need of an order
            return resize(self, size, resample, **options)
        return resize(resize(self, (size[0], self.height), resample), tuple(size), resample)

    monkeypatch.setattr(Image.Image, "resize", across_then_down)


@pytest.mark.parametrize("name", [name for name in TIMM if "crop_mode" not in TIMM[name]])
def test_pixels_equal_timm_bit_for_bit(name: str) -> None:
    assert_same_everywhere(*timm_case(name, TIMM[name]))


@pytest.mark.usefixtures("order_of_pillow_12")
@pytest.mark.parametrize("name", [name for name in TIMM if "crop_mode" in TIMM[name]])
def test_pixels_equal_timms_squash_and_border_bit_for_bit(name: str) -> None:
    assert_same_everywhere(*timm_case(name, TIMM[name]))


@pytest.mark.parametrize("name", TORCHVISION)
def test_pixels_equal_torchvisions_own_weights_transforms_bit_for_bit(name: str) -> None:
    assert_same_everywhere(torchvision_transform(name), TORCHVISION[name])


@pytest.mark.parametrize("name", CLIP)
def test_pixels_equal_open_clip_bit_for_bit(name: str) -> None:
    assert_same_everywhere(clip_transform(name), CLIP[name])


def test_the_configs_compared_are_as_different_as_they_should_be() -> None:
    cases = [timm_case(name, changes)[1] for name, changes in TIMM.items()]
    assert len(set(cases) | set(TORCHVISION.values()) | set(CLIP.values())) >= 15
    assert {case.resize for case in cases} == {"shorter", "exact", "fit", "cover"}
    assert {case.interpolation for case in cases} >= {"bilinear", "bicubic", "lanczos"}


def random_case(random: np.random.Generator) -> tuple[tuple[int, int], tuple[int, int], tuple[int, int, int, int]]:
    """(source size, output size, region of the output), with shared factors in every other case."""
    factor = int(random.choice([1, 2, 3, 5, 16, 37]))
    source, output = ((int(a) * factor, int(b) * factor) for a, b in random.integers(1, 2 + 300 // factor, (2, 2)))
    left, right = sorted(random.choice(output[0] + 1, 2, replace=False).tolist())
    top, bottom = sorted(random.choice(output[1] + 1, 2, replace=False).tolist())
    return source, output, (left, top, right, bottom)


@pytest.mark.parametrize("resampling", pixels_module._RESAMPLING.values())
@pytest.mark.usefixtures("order_of_pillow_12")
def test_resizing_a_region_equals_resizing_all_and_cropping(resampling: Image.Resampling) -> None:
    random = np.random.default_rng(int(resampling))
    noise = Image.fromarray(random.integers(0, 256, (700, 700, 3), dtype=np.uint8))
    for _ in range(150):
        source, output, region = random_case(random)
        image = noise.crop((0, 0, *source))
        wanted = image.resize(output, resampling).crop(region)
        found = pixels_module._resize_region(image, output, region, resampling)
        assert np.array_equal(found, wanted), (source, output, region)


def count_resized_pixels(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    computed: list[int] = []
    resize = Image.Image.resize

    def counting(self: Image.Image, size: tuple[int, int], *arguments: Any, **options: Any) -> Image.Image:
        computed.append(size[0] * size[1])
        return resize(self, size, *arguments, **options)

    monkeypatch.setattr(Image.Image, "resize", counting)
    return computed


def test_resizing_a_common_camera_size_computes_little_beyond_the_crop(monkeypatch: pytest.MonkeyPatch) -> None:
    image = made_image(1920, 1280)
    computed = count_resized_pixels(monkeypatch)
    Pixels("shorter", (256, 256), (224, 224)).apply(image)
    whole = 384 * 1280 + 384 * 256  # across, then down
    assert 0 < sum(computed) < 0.7 * whole


@pytest.mark.parametrize(("width", "height"), [(1, 5000), (3, 5000), (5000, 3), (5000, 1)])
def test_slivers_stay_within_a_level_of_the_whole_resize(width: int, height: int) -> None:
    image = made_image(width, height)
    found = Pixels("shorter", (64, 64), (56, 56)).apply(image).astype(np.int16)
    longer = 64 * 5000 // min(width, height)
    size = (64, longer) if width < height else (longer, 64)
    left, top = round((size[0] - 56) / 2), round((size[1] - 56) / 2)
    across = image.resize((size[0], height), Image.Resampling.BILINEAR)
    wanted = np.asarray(across.resize(size, Image.Resampling.BILINEAR).crop((left, top, left + 56, top + 56)))
    assert found.shape == (56, 56, 3)
    assert np.abs(found - wanted).max() <= 1


@pytest.mark.parametrize("channels", ["rgb", "bgr"])
@pytest.mark.parametrize(
    ("pixels", "size"),
    [
        (Pixels("shorter", (256, 256), (224, 224), "bilinear"), (256, 401)),
        (Pixels("cover", (235, 235), (224, 224), "bicubic"), (301, 235)),
        (Pixels("exact", (160, 288), (160, 288), "bicubic"), (160, 288)),
        (Pixels("fit", (224, 224), (224, 224), "bicubic"), (150, 224)),  # padded
        (Pixels("shorter", (256, 256), (224, 224), "bilinear"), (257, 401)),  # resized
    ],
)
def test_arrays_of_the_networks_size_are_cut_as_images_are(
    pixels: Pixels, size: tuple[int, int], channels: str
) -> None:
    frame = np.random.default_rng(0).integers(0, 256, (*size, 3)).astype(np.uint8)
    before = frame.copy()
    found, notes = pixels.load(frame, channels=channels)
    wanted = pixels.apply(Image.fromarray(np.ascontiguousarray(frame if channels == "rgb" else frame[:, :, ::-1])))
    np.testing.assert_array_equal(found, wanted)
    found[:] = 0  # a copy: a camera's buffer is not written to
    assert notes == () and found.flags.c_contiguous and (frame == before).all()


def test_a_sliver_costs_no_more_memory_than_the_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    image = made_image(1, 5000)
    computed = count_resized_pixels(monkeypatch)
    assert Pixels("shorter", (256, 256), (224, 224)).apply(image).shape == (224, 224, 3)
    assert sum(computed) <= pixels_module._LARGEST_RESIZE_PX


@pytest.mark.parametrize(
    "arguments",
    [
        {"resize": "shorter", "resize_px": (0, 0), "crop_px": (1, 1)},
        {"resize": "shorter", "resize_px": (8, 9), "crop_px": (8, 8)},
        {"resize": "exact", "resize_px": (8, 8), "crop_px": (8, 20000)},
        {"resize": "exact", "resize_px": (8, 8), "crop_px": (8, 8), "padding": (0, 0, 256)},
        {"resize": "exact", "resize_px": (8, 8), "crop_px": (8, 8), "value_range": (5.0, 5.0)},
    ],
)
def test_a_contract_that_is_not_valid_is_refused(arguments: dict[str, Any]) -> None:
    with pytest.raises(ValueError):
        Pixels(**arguments)
