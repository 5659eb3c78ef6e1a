"""One photograph, spoiled in six ways to the same mean squared error."""

import io
from collections.abc import Callable

import numpy as np
from drawing.canvas import LINE, MARGIN, OURS, SSIM, Canvas, Picture, bare
from PIL import Image
from scipy import ndimage, optimize
from skimage import data

from jax_fused_ssim import fused_ssim, image_metrics

CROP = np.s_[16:208, 128:320]  # the face, the shoulders and the flag behind
QUALITY = 7  # of JPEG, the only one whose strength comes in steps
TEXT = """\
All six images have the same mean squared error, a PSNR of {psnr:.2f} dB. Their SSIM:
{listed}. Maps are the mean over the three channels;
what is below 0 is drawn as 0.

A brighter image, and one of less contrast, keep their structure: their maps are low
only where the photograph is nearly black, as there the same step is large beside the
brightness. Noise hides what is flat, and least of all the edges. Blur and a shift are
seen where there is detail; of JPEG the map shows the seams between blocks, and the
texture that is gone. The bright frame of each map is the zero padding, which both
images share.
"""
PLACES = ("brightness", "contrast", "shift", "blur", "JPEG", "noise")


def photograph() -> np.ndarray:
    """float32 [192, 192, 3] in [0, 1]."""
    return data.astronaut()[CROP].astype(np.float32) / 255


def jpeg(image: np.ndarray, quality: int) -> np.ndarray:
    """Written as JPEG and read again."""
    file = io.BytesIO()
    Image.fromarray(np.round(255 * image).astype(np.uint8)).save(
        file, "JPEG", quality=quality
    )
    return np.asarray(Image.open(file), np.float32) / 255


def noise(image: np.ndarray, strength: float) -> np.ndarray:
    return image + strength * np.random.default_rng(0).standard_normal(image.shape)


def blur(image: np.ndarray, strength: float) -> np.ndarray:
    return ndimage.gaussian_filter(image, (strength, strength, 0), mode="nearest")


def shift(image: np.ndarray, strength: float) -> np.ndarray:
    return ndimage.shift(image, (0, strength, 0), order=1, mode="nearest")


def brightness(image: np.ndarray, strength: float) -> np.ndarray:
    return image + strength


def contrast(image: np.ndarray, strength: float) -> np.ndarray:
    mean = image.mean(axis=(0, 1))
    return mean + (1 - strength) * (image - mean)


# The largest strength of each, which is more than enough.
TUNED: dict[str, tuple[Callable[[np.ndarray, float], np.ndarray], float]] = {
    "brightness": (brightness, 0.5),
    "contrast": (contrast, 1),
    "noise": (noise, 0.5),
    "blur": (blur, 10),
    "shift": (shift, 10),
}


def mse(image: np.ndarray, other: np.ndarray) -> float:
    return float(np.mean((image - other) ** 2, dtype=np.float64))


def of_equal_error(image: np.ndarray) -> dict[str, tuple[np.ndarray, float]]:
    """Name: the image spoiled, in [0, 1], and how much; all have the JPEG's MSE."""
    compressed = jpeg(image, QUALITY)
    target = mse(image, compressed)
    found = {}
    for name, (spoil, most) in TUNED.items():

        def spoiled(strength: float, spoil: Callable = spoil) -> np.ndarray:
            return np.clip(spoil(image, strength), 0, 1).astype(np.float32)

        strength = optimize.brentq(
            lambda s, spoiled=spoiled: mse(image, spoiled(s)) - target, 0, most
        )
        found[name] = spoiled(strength), strength
    return {**found, "JPEG": (compressed, QUALITY)}


def draw(scale: int = 2) -> Picture:
    image = photograph()
    spoiled = of_equal_error(image)
    metrics = {
        name: image_metrics(other, image, data_format="NHWC")
        for name, (other, _) in spoiled.items()
    }
    ssim = {name: float(m.ssim) for name, m in metrics.items()}
    psnr = float(metrics["JPEG"].psnr)
    assert all(abs(float(m.psnr) - psnr) < 0.005 for m in metrics.values())
    strength = {name: s for name, (_, s) in spoiled.items()}
    how = {
        "brightness": f"+{strength['brightness']:.3f}",
        "contrast": f"x {1 - strength['contrast']:.2f}",
        "noise": f"sigma {strength['noise']:.3f}",
        "blur": f"sigma {strength['blur']:.2f} pixels",
        "shift": f"{strength['shift']:.2f} pixels",
        "JPEG": f"quality {QUALITY}",
    }

    side, head = scale * len(image), 2 * LINE + 10
    step, row = side + MARGIN, head + 2 * side + 4 + MARGIN
    canvas = Canvas(MARGIN + 4 * step, MARGIN + 2 * row)
    canvas.text(MARGIN, MARGIN, "photograph", "SSIM 1")
    canvas.image(MARGIN, MARGIN + head, image, scale)
    for i, name in enumerate(PLACES):
        left = MARGIN + (i % 3 + 1) * step
        top = MARGIN + i // 3 * row
        other, _ = spoiled[name]
        canvas.text(left, top, f"{name}, {how[name]}", f"SSIM {ssim[name]:.3f}")
        canvas.image(left, top + head, other, scale)
        ssim_map = fused_ssim(other, image, data_format="NHWC", reduction="none")
        ssim_map = np.asarray(ssim_map).mean(axis=-1)
        shown = canvas.image(left, top + head + side + 4, ssim_map, scale, **SSIM)

    top = MARGIN + head + side + 4
    lines = ("The map of SSIM", "is below each image.")
    canvas.text(MARGIN, top + MARGIN, *lines)
    top += MARGIN + head + 10
    canvas.colour_bar(shown, MARGIN, top, side - MARGIN - head - 30, "")
    top = MARGIN + row
    canvas.text(MARGIN, top, "SSIM of all six", f"PSNR {psnr:.2f} dB each")
    order = sorted(ssim, key=ssim.__getitem__, reverse=True)
    label = 150
    axes = canvas.axes(MARGIN + label, top + head, side - label - 90, side)
    bars = axes.barh(order, [ssim[name] for name in order], color=OURS)
    axes.bar_label(bars, fmt="%.3f", padding=4)
    axes.invert_yaxis()
    bare(axes)

    listed = ", ".join(f"{name} {ssim[name]:.3f}" for name in order)
    return Picture(
        canvas.figure,
        "Six images of equal squared error",
        f"Six degraded copies of a photograph, all at {psnr:.1f} dB, each above its "
        f"map of SSIM: {listed}.",
        TEXT.format(psnr=psnr, listed=listed),
    )
