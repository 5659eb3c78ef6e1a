"""One photograph splatted twice: by L1 alone, and by L1 and D-SSIM together."""

import jax
import jax.numpy as jnp
import numpy as np
from drawing.canvas import LINE, MARGIN, SSIM, Canvas, Picture, outline
from skimage import data

from examples import splat_image
from jax_fused_ssim import fused_ssim, image_metrics

CROPS = ((40, 84), (168, 60))  # the face; a patch of the suit
CROP = 48
TEXT = """\
`examples/splat_image.py` draws a photograph of {size} x {size} pixels with {gaussians}
two-dimensional Gaussians, from the same start, in {steps} steps of Adam. {scores}. The
mean absolute error, which is what L1 alone minimises, is {alone:.4f} with it and
{joint:.4f} with both. With D-SSIM in the loss the mouth, the eyes and the rim of the
patch are sharper, and the map is higher at {higher:.1f} % of the pixels. It is one
photograph and one budget of steps: it shows what the term does, and is no proof that
PSNR always gains.
"""


def fitted(size: int, gaussians: int, steps: int) -> tuple[np.ndarray, dict]:
    """The photograph, uint8 [size, size, 3], and the image that each loss leads to."""
    photograph = data.astronaut()
    factor = len(photograph) // size
    blocks = photograph.reshape(size, factor, size, factor, 3)
    photograph = np.round(blocks.mean(axis=(1, 3))).astype(np.uint8)
    start = splat_image.place(photograph, np.ones((size, size), bool), gaussians)
    target = jnp.asarray(photograph)
    images = {}
    for name, weight in (("L1", 0.0), ("0.8 L1 + 0.2 (1 - SSIM)", 0.2)):
        splats = splat_image.fit(start, target, None, steps, weight)
        images[name] = jax.jit(splat_image.render, static_argnums=(1, 2))(
            splats, size, size
        )
    return photograph, images


def draw(size: int = 256, gaussians: int = 1000, steps: int = 300) -> Picture:
    target, images = fitted(size, gaussians, steps)
    metrics = {
        name: image_metrics(image, target, data_format="NHWC")
        for name, image in images.items()
    }
    columns = [
        ("photograph", target, f"{gaussians} Gaussians, {steps} steps"),
        *(
            (name, image, f"PSNR {m.psnr:.2f} dB, SSIM {m.ssim:.4f}")
            for (name, image), m in zip(images.items(), metrics.values(), strict=True)
        ),
    ]
    maps = [
        np.asarray(
            fused_ssim(image, target / 255, data_format="NHWC", reduction="none")
        ).mean(axis=-1)
        for image in images.values()
    ]
    crops = [(row * size // 256, column * size // 256) for row, column in CROPS]
    cut = CROP * size // 256
    side, head = 2 * size, 2 * LINE + 10
    zoomed = (side - 8) // 2 // cut
    step = side + MARGIN
    below = MARGIN + head + side + 8 + zoomed * cut + 8  # where the maps are
    canvas = Canvas(MARGIN + 3 * step, below + side + MARGIN)
    for i, (name, image, line) in enumerate(columns):
        left = MARGIN + i * step
        canvas.text(left, MARGIN, name, line)
        shown = canvas.image(left, MARGIN + head, image, 2)
        for k, (row, column) in enumerate(crops):
            outline(shown.axes, (row, column), cut)
            canvas.image(
                left + k * (side - zoomed * cut),
                MARGIN + head + side + 8,
                image[row : row + cut, column : column + cut],
                zoomed,
            )
        if i:
            shown = canvas.image(left, below, maps[i - 1], 2, **SSIM)
    canvas.text(MARGIN, below, "The map of SSIM", "of each result")
    canvas.colour_bar(shown, MARGIN, below + head, side - head, "")
    scores = "; ".join(f"{name}: {line}" for name, _, line in columns[1:])
    alone, joint = metrics.values()
    return Picture(
        canvas.figure,
        "L1, and L1 with D-SSIM",
        "A photograph, and the same drawn with Gaussians that were fitted by L1 alone, "
        f"and by L1 and D-SSIM, with details and maps of SSIM. {scores}.",
        TEXT.format(
            size=size,
            gaussians=gaussians,
            steps=steps,
            scores=scores,
            alone=alone.mae,
            joint=joint.mae,
            higher=100 * np.mean(maps[1] > maps[0]),
        ),
    )
