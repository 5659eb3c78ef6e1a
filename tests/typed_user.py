# pyright: strict, reportUnnecessaryTypeIgnoreComment=true
"""What a user writes, for test_types.py: read by type checkers, not run."""

import functools
from typing import Literal, assert_type

import numpy as np
from jax import Array

from jax_fused_ssim import (
    CUSTOM_CALL_TARGETS,
    ImageMetrics,
    PhotometricTerms,
    SsimTerms,
    build_info,
    conventions,
    fused_ms_ssim,
    fused_ssim,
    fused_ssim3d,
    image_metrics,
    photometric_loss,
    sharded,
    ssim_terms,
)


def loss(restored: Array, target: Array) -> Array:
    return 1 - fused_ssim(restored, target)


def mixed_loss(rendered: Array, photograph: Array) -> tuple[Array, PhotometricTerms]:
    return photometric_loss(
        rendered, photograph, ssim_weight=0.15, l2_weight=0.1, return_terms=True
    )


def by_name(restored: Array, target: Array) -> Array:
    ranges = target.max((-3, -2, -1))
    of_slices = fused_ssim(restored, target, data_range=ranges, **conventions.FASTMRI)
    luma = conventions.luma(conventions.crop_border(restored, 4))
    of_scales = fused_ms_ssim(luma, luma, **conventions.MS_PYTORCH_MSSSIM)
    wide = fused_ssim(restored, target, window_size=33, sigma=None)
    uniform = fused_ssim(restored, target, sigma=None, **conventions.TORCHMETRICS)
    of_bytes = photometric_loss(restored, target, data_range=255, **conventions.WANG)
    return of_slices + of_scales + wide + uniform + of_bytes


def of_scales(restored: Array, target: Array) -> Array:
    mixed = 0.84 * (1 - fused_ms_ssim(restored, target, data_format="NHWC"))
    channels = fused_ssim(restored, target, reduction="per_channel")
    return mixed + assert_type(channels, Array).mean()


def of_volumes(scan: Array, other: Array) -> Array:
    uniform = fused_ssim3d(scan, other, "valid", window_size=7, sigma=None)
    block = sharded.fused_ssim3d(scan, other, depth_axis="d", data_format="NDHWC")
    return assert_type(uniform, Array) + assert_type(block, Array)


def of_exposure(rendered: Array, photograph: Array) -> Array:
    terms = ssim_terms(rendered, photograph, "valid", data_range=255)
    return 1 - assert_type(terms, SsimTerms).contrast_structure


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


def losses(images: Array) -> None:
    assert_type(photometric_loss(images, images), Array)
    assert_type(photometric_loss(images, images, return_terms=False), Array)
    assert_type(
        photometric_loss(
            images,
            images,
            ssim_weight=np.float32(0.2),
            l1_weight=None,
            error_region="map",
            reduction="per_image",
            padding="valid",
            data_format="NHWC",
            data_range=255,
            k1=0.02,
            k2=0.05,
            implementation="xla",
        ),
        Array,
    )
    _, terms = mixed_loss(images, images)
    assert_type(terms.l1, Array)
    metrics = image_metrics(images, np.zeros((3, 32, 32)), padding="valid")
    assert_type(metrics, ImageMetrics)
    assert_type(metrics.psnr, Array)


def mistakes(images: Array) -> None:
    """What is ignored must be an error, or the ignoring of it is one."""
    fused_ssim(images, images, "constant")  # pyright: ignore[reportArgumentType]
    fused_ssim(images, images, reduction="sum")  # pyright: ignore[reportArgumentType]
    fused_ssim(images, images, "same", True, "NHWC")  # pyright: ignore[reportCallIssue]
    fused_ssim("image.png", images)  # pyright: ignore[reportArgumentType]
    sharded.fused_ssim(images, images, data_range="1")  # pyright: ignore[reportArgumentType]
    sharded.fused_ssim(images, images, "edge")  # pyright: ignore[reportArgumentType]
    photometric_loss(images, images, reduction="none")  # pyright: ignore[reportArgumentType]
    photometric_loss(images, images, "valid")  # pyright: ignore[reportCallIssue]
    pair = photometric_loss(images, images, return_terms=True)
    assert_type(pair, Array)  # pyright: ignore[reportAssertTypeFailure]
    image_metrics(images, images, error_region="all")  # pyright: ignore[reportArgumentType]


assert_type(CUSTOM_CALL_TARGETS, tuple[str, ...])
print(build_info()["platforms"])
