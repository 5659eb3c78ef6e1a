# pyright: strict, reportUnnecessaryTypeIgnoreComment=true
"""What a user writes, for test_types.py: read by a type checker, not run."""

import functools
from typing import Literal, assert_type

import numpy as np
from jax import Array

from jax_fused_ssim import CUSTOM_CALL_TARGETS, build_info, fused_ssim, sharded


def loss(restored: Array, target: Array) -> Array:
    return 1 - fused_ssim(restored, target)


def of_rows(
    block: Array, other: Array, padding: Literal["same", "valid"] = "same"
) -> Array:
    return sharded.fused_ssim(block, other, padding, height_axis="rows")


def of_tiles(block: Array, other: Array) -> Array:
    return sharded.fused_ssim(block, other, height_axis=("a", "b"), width_axis="c")


def results(images: Array) -> None:
    assert_type(fused_ssim(images, images), Array)
    assert_type(fused_ssim(images, images, "valid", False, k1=0.02, k2=0.05), Array)
    per_image = functools.partial(fused_ssim, reduction="per_image")
    assert_type(per_image(images, images), Array)
    photograph = np.zeros((32, 32, 3), np.float32)
    ssim_map = fused_ssim(
        photograph,
        photograph,
        padding="same",
        data_format="NHWC",
        data_range=255,
        reduction="none",
        implementation=None,
    )
    assert_type(ssim_map, Array)
    assert_type(fused_ssim(images, images, data_range=images.max()), Array)
    assert_type(fused_ssim(images, images, k1=np.float32(0.02)), Array)
    assert_type(fused_ssim(images, images, data_range=photograph.max()), Array)


def mistakes(images: Array) -> None:
    """What is ignored must be an error, or the ignoring of it is one."""
    fused_ssim(images, images, "reflect")  # pyright: ignore[reportArgumentType]
    fused_ssim(images, images, reduction="sum")  # pyright: ignore[reportArgumentType]
    fused_ssim(images, images, "same", True, "NHWC")  # pyright: ignore[reportCallIssue]
    fused_ssim("image.png", images)  # pyright: ignore[reportArgumentType]
    sharded.fused_ssim(images, images, data_range="1")  # pyright: ignore[reportArgumentType]


assert_type(CUSTOM_CALL_TARGETS, tuple[str, ...])
print(build_info()["platforms"])
