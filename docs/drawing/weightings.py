"""What windows see beyond a mask, with each weighting of the loss."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from drawing.canvas import (
    GRADIENT,
    LINE,
    MARGIN,
    MARK,
    SSIM,
    Canvas,
    Picture,
    outline,
)
from drawing.degradations import jpeg, photograph
from jax import Array
from matplotlib.colors import LogNorm
from skimage import data
from skimage.draw import ellipse

from jax_fused_ssim import fused_ssim, photometric_loss

QUALITY = 20
HEAD = {"r": 84, "c": 98, "r_radius": 74, "c_radius": 56}  # an ellipse
EDGE = (96, 24)  # the corner of what is shown larger
EDGE_SIZE = 64
TEXT = """\
The object, the head inside the line, is a JPEG of quality {quality} of the target's;
behind it is another photograph, which the weights leave out. The loss is 1 - SSIM,
`photometric_loss` with `ssim_weight=1`. SSIM: {numbers}. Below is the size of the
gradient in the prediction, summed over channels, on a logarithmic scale, and below that
what the square shows, enlarged.

- With "map", windows of the object see the background: it lowers the SSIM, and
  {share:.1f} % of the gradient pulls at pixels that do not count, up to 5 of them from
  the edge.
- With "inside", windows that see a pixel of weight 0 do not count: nothing leaks, and
  the outermost pixels of the object get next to no gradient.
- With "normalized", the statistics of a window are of the object alone: nothing leaks,
  and the gradient goes up to the edge.
"""
WEIGHTINGS = ("map", "inside", "normalized")


class Scene(NamedTuple):
    """An object that is nearly right, before a background that is another one."""

    target: np.ndarray  # [H, W, 3] in [0, 1]
    object: np.ndarray  # the same, compressed
    prediction: np.ndarray  # the object before another photograph
    mask: np.ndarray  # bool [H, W], the object


def scene() -> Scene:
    target = photograph()
    mask = np.zeros(target.shape[:2], bool)
    mask[ellipse(**HEAD, shape=mask.shape)] = True
    compressed = jpeg(target, QUALITY)
    height, width = mask.shape
    other = data.chelsea()[:height, :width].astype(np.float32) / 255
    prediction = np.where(mask[..., None], compressed, other)
    return Scene(target, compressed, prediction, mask)


def dissimilarity(
    prediction: np.ndarray, scene: Scene, weighting: str
) -> tuple[float, Array]:
    """1 - SSIM of the object, and the gradient in the prediction, [H, W, 3]."""

    def loss(image: Array) -> Array:
        return photometric_loss(
            image,
            scene.target,
            ssim_weight=1,
            data_format="NHWC",
            weights=jnp.asarray(scene.mask[..., None], jnp.float32),
            weighting=weighting,
        )

    value, gradient = jax.value_and_grad(loss)(jnp.asarray(prediction))
    return float(value), gradient


def draw(scale: int = 2) -> Picture:
    shown = scene()
    mask = shown.mask
    found = {w: dissimilarity(shown.prediction, shown, w) for w in WEIGHTINGS}
    undisturbed = {w: 1 - dissimilarity(shown.object, shown, w)[0] for w in WEIGHTINGS}
    ssim = {w: 1 - value for w, (value, _) in found.items()}
    # Of the mean over the mask, so that it is that of a pixel's own share.
    size = {w: np.abs(g).sum(axis=-1) * mask.sum() for w, (_, g) in found.items()}
    outside = {w: float(g[~mask].sum() / g.sum()) for w, g in size.items()}

    side, head = scale * len(mask), 2 * LINE + 10
    step = side + MARGIN
    top = MARGIN + head + side + MARGIN
    zoom = side // EDGE_SIZE
    canvas = Canvas(MARGIN + 3 * step + 140, top + head + 2 * (side + 8) + MARGIN)
    ssim_map = fused_ssim(
        shown.prediction, shown.target, data_format="NHWC", reduction="none"
    )
    inputs = {
        ("target", "inside the line: the object"): (shown.target, {}),
        ("prediction", f"the object as JPEG, quality {QUALITY}"): (
            shown.prediction,
            {},
        ),
        ("SSIM map", "its windows see every pixel"): (
            np.asarray(ssim_map).mean(axis=-1),
            SSIM,
        ),
    }
    right = MARGIN + 3 * step - MARGIN // 2  # of the images, where the bars are
    for i, (lines, (image, options)) in enumerate(inputs.items()):
        left = MARGIN + i * step
        canvas.text(left, MARGIN, *lines)
        drawn = canvas.image(left, MARGIN + head, image, scale, **options)
        drawn.axes.contour(shown.mask, [0.5], colors=MARK, linewidths=1)
    canvas.colour_bar(drawn, right, MARGIN + head, side, "SSIM")
    row, column = EDGE
    colours = {**GRADIENT, "norm": LogNorm(1e-2, 1e2, clip=True)}
    for i, weighting in enumerate(WEIGHTINGS):
        left = MARGIN + i * step
        share = f"{100 * outside[weighting]:.1f} % of the gradient outside"
        canvas.text(left, top, f'"{weighting}", SSIM {ssim[weighting]:.4f}', share)
        drawn = canvas.image(left, top + head, size[weighting], scale, **colours)
        outline(drawn.axes, EDGE, EDGE_SIZE)
        cut = np.s_[row : row + EDGE_SIZE, column : column + EDGE_SIZE]
        drawn = canvas.image(
            left, top + head + side + 8, size[weighting][cut], zoom, **colours
        )
        drawn.axes.contour(mask[cut], [0.5], colors="white", linewidths=1)
    label = "|gradient| x pixels of the object"
    canvas.colour_bar(drawn, right, top + head, 2 * side + 8, label)
    numbers = {
        w: f'"{w}" {ssim[w]:.4f} ({undisturbed[w]:.4f} before the right background)'
        for w in WEIGHTINGS
    }
    return Picture(
        canvas.figure,
        "What a window sees beyond a mask",
        "An object before a background that differs from the target's, the map of "
        "SSIM, and the gradient for each weighting, whole and at the mask's edge: with "
        '"map" it reaches beyond the edge, with "inside" it ends before it, with '
        '"normalized" at it.',
        TEXT.format(
            quality=QUALITY,
            numbers=", ".join(numbers.values()),
            share=100 * outside["map"],
        ),
    )
