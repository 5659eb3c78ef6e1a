"""Draws a photograph with 2-D Gaussian splats: Adam minimises 0.8 L1 + 0.2 (1 - SSIM).

--ssim-weight is the 0.2; with 0 it is L1 alone.
Writes a picture with target, start, result and the SSIM map of the result side by side.

    python examples/splat_image.py --output splat_image.png

Your own photograph, only where a mask is white, and larger, for a GPU:

    python examples/splat_image.py --image photo.jpg --mask mask.png \\
        --size 1024 --gaussians 30000 --steps 1000
"""

import argparse
import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import Array, lax
from matplotlib.figure import Figure
from PIL import Image, ImageOps
from skimage import data
from tqdm import trange

from jax_fused_ssim import build_info, fused_ssim, photometric_loss

TILE = 16  # height and width in pixels
CAPACITY = 64  # Gaussians that a tile draws at most
REACH = 4  # a Gaussian touches at most REACH x REACH tiles
CUT = 3.0  # standard deviations from its mean where a Gaussian ends
FLOOR = float(np.exp(-0.5 * CUT**2))
SMALLEST = 0.4  # standard deviation in pixels
LARGEST = TILE * (REACH - 1) / 2 / CUT  # ends inside its tiles wherever its mean is


class Splats(NamedTuple):
    """N Gaussians; the centre of pixel [i, j] is at x = j + 0.5, y = i + 0.5."""

    means: Array  # [N, 2], x and y
    log_scales: Array  # [N, 2], logarithms of the standard deviations along both axes
    angles: Array  # [N], from the x axis to the first one
    colours: Array  # [N, 3]
    logits: Array  # [N], of the opacities


RATES = (0.2, 0.03, 0.03, 0.02, 0.05)  # Adam's at the start, in the order of Splats


def inverse_covariances(splats: Splats) -> Array:
    """[N, 3]: xx, xy, yy."""
    first, second = jnp.exp(-2 * splats.log_scales).T
    cos, sin = jnp.cos(splats.angles), jnp.sin(splats.angles)
    xx = cos**2 * first + sin**2 * second
    yy = sin**2 * first + cos**2 * second
    return jnp.stack([xx, cos * sin * (first - second), yy], axis=-1)


def exponents(inverses: Array, x: Array, y: Array) -> Array:
    """Of Gaussians with these inverse covariances, at x and y from their means."""
    xx, xy, yy = jnp.moveaxis(inverses, -1, 0)
    return -0.5 * (xx * x * x + 2 * xy * x * y + yy * y * y)


def bin_splats(splats: Splats, grid: tuple[int, int]) -> tuple[Array, Array]:
    """Gives each tile the Gaussians that contribute most to it.

    All pairs of a Gaussian and a tile around it are sorted by tile and contribution,
    those that do not touch last: every shape is static.

    Returns:
      The Gaussian in each slot of the tiles, int [tiles, CAPACITY], N where empty,
      and the slots of each Gaussian, int [N, REACH^2], padded with an index past all.
    """
    count, tiles = len(splats.means), grid[0] * grid[1]
    corners = jnp.floor(splats.means / TILE + 0.5).astype(int) - REACH // 2
    offsets = jnp.indices((REACH, REACH)).reshape(2, -1)
    column, row = corners.T[..., None] + offsets[:, None]  # [N, REACH^2] each

    # In a tile without its mean, a Gaussian is largest on a side that faces the mean,
    # and there on its ridge.
    inverses = inverse_covariances(splats)[:, None]
    xx, xy, yy = jnp.moveaxis(inverses, -1, 0)
    mean_x, mean_y = splats.means.T[..., None]
    left, top = column * TILE + 0.5 - mean_x, row * TILE + 0.5 - mean_y
    x, y = jnp.clip(0, left, left + TILE - 1), jnp.clip(0, top, top + TILE - 1)
    ridge_x = jnp.clip(-xy / xx * y, left, left + TILE - 1)
    ridge_y = jnp.clip(-xy / yy * x, top, top + TILE - 1)
    peak = jnp.maximum(exponents(inverses, x, ridge_y), exponents(inverses, ridge_x, y))
    contribution = jax.nn.sigmoid(splats.logits)[:, None] * (jnp.exp(peak) - FLOOR)

    drawn = (column >= 0) & (column < grid[1]) & (row >= 0) & (row < grid[0])
    drawn &= contribution > 0
    tile = jnp.where(drawn, row * grid[1] + column, tiles).ravel()
    pairs = jnp.arange(tile.size)
    tile, _, order = lax.sort((tile, -contribution.ravel(), pairs), num_keys=2)
    rank = pairs - jnp.searchsorted(tile, jnp.arange(tiles + 1))[tile]
    kept = (tile < tiles) & (rank < CAPACITY)
    slots = jnp.where(kept, tile * CAPACITY + rank, tiles * CAPACITY)
    members = jnp.full(tiles * CAPACITY, count).at[slots].set(order // REACH**2)
    slots = pairs.at[order].set(slots, unique_indices=True)
    return members.reshape(tiles, CAPACITY), slots.reshape(count, -1)


@jax.custom_vjp
def gather(rows: Array, members: Array, slots: Array) -> Array:
    """Rows [N, P] of Gaussians to the slots of tiles; zeros where a slot is empty.

    Its derivative gathers too, where that of indexing would add in whatever order the
    threads of a GPU arrive: gradients have the same bits from run to run.
    """
    return rows.at[members].get(mode="fill", fill_value=0)


def gather_backward(slots: Array, cotangent: Array) -> tuple[Array, None, None]:
    flat = cotangent.reshape(-1, cotangent.shape[-1])
    return flat.at[slots].get(mode="fill", fill_value=0).sum(axis=1), None, None


gather.defvjp(lambda *args: (gather(*args), args[-1]), gather_backward)


def draw_tile(tile: tuple[Array, Array]) -> Array:
    """Pixels [TILE, TILE, 3] from rows [CAPACITY, 9] and the centre of the tile."""
    rows, centre = tile
    means, inverses, opacities, colours = jnp.split(rows, (2, 5, 6), axis=1)
    x, y = (means - centre).T
    xx, xy, yy = inverses.T

    # Exponents are polynomials in the coordinates of a pixel, so a product of matrices,
    # in which TF32 would be too coarse: large terms cancel.
    v, u = jnp.indices((TILE, TILE)).reshape(2, -1) - (TILE - 1) / 2
    monomials = jnp.stack([u * u, u * v, v * v, u, v, jnp.ones_like(u)])
    of_mean = [xx * x + xy * y, xy * x + yy * y, exponents(inverses, x, y)]
    polynomials = jnp.stack([-0.5 * xx, -xy, -0.5 * yy, *of_mean], axis=1)
    matmul = functools.partial(jnp.matmul, precision="highest")
    # Lowered, so that a Gaussian ends without a jump.
    falloff = jnp.maximum(jnp.exp(matmul(polynomials, monomials)) - FLOOR, 0)

    summands = jnp.concatenate([opacities * colours, opacities], axis=1)
    sums = matmul(summands.T, falloff)
    # The constant makes black of pixels without Gaussians.
    return (sums[:3] / (sums[3] + 1e-3)).T.reshape(TILE, TILE, 3)


def render(splats: Splats, height: int, width: int) -> Array:
    """[height, width, 3]: means of the colours, weighted by opacity and Gaussian.

    The weights are relative: no Gaussian hides another, so none needs a depth.
    """
    grid = -(-height // TILE), -(-width // TILE)
    bins = bin_splats(lax.stop_gradient(splats), grid)
    opacities = jax.nn.sigmoid(splats.logits)[:, None]
    parts = [splats.means, inverse_covariances(splats), opacities, splats.colours]
    rows = gather(jnp.concatenate(parts, axis=1), *bins)
    centres = TILE * (jnp.indices(grid)[::-1].reshape(2, -1).T + 0.5)
    # Some tiles at a time, and anew for the derivative: the values of all Gaussians at
    # all pixels would go to memory and back.
    tiles = lax.map(jax.checkpoint(draw_tile), (rows, centres), batch_size=128)
    image = tiles.reshape(*grid, TILE, TILE, 3).swapaxes(1, 2)
    return image.reshape(grid[0] * TILE, grid[1] * TILE, 3)[:height, :width]


def place(target: np.ndarray, inside: np.ndarray, count: int) -> Splats:
    """Gaussians in the photograph's colours, only inside the mask, more at edges."""
    rng = np.random.default_rng(0)
    edges = np.hypot(*np.gradient(np.where(inside, target.mean(axis=-1), 0)))
    density = inside * (edges + edges[inside].mean() + 1e-6)
    density /= density.sum()
    pixels = rng.choice(density.size, count, p=density.ravel())
    i, j = np.divmod(pixels, target.shape[1])
    scales = np.clip(0.6 / np.sqrt(count * density[i, j]), SMALLEST, LARGEST)
    splats = Splats(
        means=np.stack([j, i], axis=-1) + rng.random((count, 2)),
        log_scales=np.log(scales)[:, None].repeat(2, axis=1),
        angles=rng.uniform(0, np.pi, count),
        colours=target[i, j] / 255,
        logits=np.zeros(count),
    )
    return jax.tree.map(lambda a: jnp.asarray(a, jnp.float32), splats)


def loss(
    splats: Splats, target: Array, weights: Array | None, ssim_weight: float = 0.2
) -> tuple[Array, Any]:
    """Of the image against uint8 [H, W, 3]: (loss, (its terms, the image))."""
    image = render(splats, *target.shape[:2])
    value, terms = photometric_loss(
        image,
        target,
        ssim_weight=ssim_weight,
        data_format="NHWC",
        weights=weights,
        weighting="inside",  # windows that see what the mask leaves out do not count
        return_terms=True,
    )
    return value, (terms, image)


def fit(
    splats: Splats,
    target: Array,
    weights: Array | None,
    steps: int,
    ssim_weight: float = 0.2,
) -> Splats:
    """Minimises `loss` from `splats`; returns the Gaussians after the last step."""
    schedules = [optax.cosine_decay_schedule(rate, steps, 0.05) for rate in RATES]
    optimizer = optax.multi_transform(
        dict(zip(Splats._fields, map(optax.adam, schedules), strict=True)),
        Splats._make(Splats._fields),  # the label of each parameter is its name
    )

    @jax.jit
    def step(splats, state, target, weights):
        gradients, (terms, _) = jax.grad(loss, has_aux=True)(
            splats, target, weights, ssim_weight
        )
        updates, state = optimizer.update(gradients, state)
        splats = optax.apply_updates(splats, updates)
        splats = splats._replace(
            means=jnp.clip(splats.means, 0, jnp.array(target.shape[1::-1])),
            log_scales=jnp.clip(splats.log_scales, np.log(SMALLEST), np.log(LARGEST)),
            colours=jnp.clip(splats.colours, 0, 1),
        )
        return splats, state, terms

    state = optimizer.init(splats)
    bar = trange(steps, unit="step")
    for i in bar:
        splats, state, terms = step(splats, state, target, weights)
        if i % 25 == 0:  # reading the value waits for the device
            bar.set_postfix_str(f"SSIM {terms.ssim:.4f}")
    return splats


def draw(images: dict[str, Array], ssim_map: Array, path: str) -> None:
    """Writes the images and the map side by side."""
    figure = Figure(figsize=(17, 4), layout="constrained")
    axes = figure.subplots(1, len(images) + 1)
    for axis, (title, image) in zip(axes, images.items(), strict=False):
        axis.imshow(image)
        axis.set_title(title)
    shown = axes[-1].imshow(ssim_map, vmin=0, vmax=1, cmap="viridis")
    axes[-1].set_title("SSIM map of the result")
    for axis in axes:
        axis.axis("off")
    figure.colorbar(shown, ax=axes[-1])
    figure.savefig(path, dpi=100)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add = parser.add_argument
    add("--image", help="a photograph; without it, one of scikit-image")
    add("--mask", help="an image: white counts, black does not, grey in part")
    add("--size", type=int, default=256, help="of the longer side, in pixels")
    add("--gaussians", type=int, default=2000)
    add("--steps", type=int, default=300)
    add("--ssim-weight", type=float, default=0.2, help="the rest of 1 is for L1")
    add("--output", default="splat_image.png")
    args = parser.parse_args()

    platforms = ", ".join(build_info()["platforms"])
    print(f"kernels for {platforms}, JAX on {jax.devices()[0].device_kind}")
    source = Image.open(args.image) if args.image else Image.fromarray(data.astronaut())
    photograph = ImageOps.exif_transpose(source).convert("RGB")
    photograph = ImageOps.contain(photograph, (args.size, args.size))
    target, weights = jnp.asarray(np.asarray(photograph)), None
    inside = np.ones(target.shape[:2], bool)
    if args.mask:
        mask = Image.open(args.mask).convert("L").resize(photograph.size)
        inside = np.asarray(mask) > 0
        weights = jnp.asarray(np.asarray(mask)[..., None] / 255, jnp.float32)
    start = place(np.asarray(photograph), inside, args.gaussians)
    result = fit(start, target, weights, args.steps, args.ssim_weight)

    evaluate = jax.jit(loss)
    _, (before, first) = evaluate(start, target, weights)
    _, (after, last) = evaluate(result, target, weights)
    print(f"SSIM before {before.ssim:.4f}, after {after.ssim:.4f}")
    before, after = (-10 * np.log10(terms.l2) for terms in (before, after))
    print(f"PSNR before {before:.2f} dB, after {after:.2f} dB")

    ssim_map = fused_ssim(last, target / 255, data_format="NHWC", reduction="none")
    ssim_map = jnp.where(inside, ssim_map.mean(axis=-1), jnp.nan)  # left blank
    draw({"target": target, "start": first, "result": last}, ssim_map, args.output)
    print(f"wrote {args.output}")


if __name__ == "__main__":
    main()
