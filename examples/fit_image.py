"""Turns noise into a photograph: Adam maximises SSIM, one jitted step at a time.

Writes a picture with target, start, result and the SSIM map of the result side by side.

    python examples/fit_image.py --steps 300 --output fit_image.png
"""

import argparse

import jax
import jax.numpy as jnp
import optax
from matplotlib.figure import Figure
from skimage import data, img_as_float32
from tqdm import trange

from jax_fused_ssim import build_info, fused_ssim


def loss(image: jax.Array, target: jax.Array) -> jax.Array:
    """1 - SSIM of two [H, W, C] images in [0, 1]."""
    return 1 - fused_ssim(image, target, data_format="NHWC")


def fit(target: jax.Array, start: jax.Array, steps: int) -> jax.Array:
    """Minimises `loss` from `start`; returns the image after the last step."""
    optimizer = optax.adam(optax.cosine_decay_schedule(0.05, steps))

    @jax.jit
    def step(image, state):
        value, gradient = jax.value_and_grad(loss)(image, target)
        updates, state = optimizer.update(gradient, state)
        return jnp.clip(optax.apply_updates(image, updates), 0, 1), state, 1 - value

    image, state = start, optimizer.init(start)
    bar = trange(steps, unit="step")
    for i in bar:
        image, state, ssim = step(image, state)
        if i % 25 == 0:  # reading the value waits for the device
            bar.set_postfix_str(f"SSIM {ssim:.4f}")
    return image


def draw(images: dict[str, jax.Array], ssim_map: jax.Array, path: str) -> None:
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
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--output", default="fit_image.png")
    args = parser.parse_args()

    info = build_info()
    print(
        f"jax_fused_ssim {info['version']}, kernels for {', '.join(info['platforms'])}"
    )
    print(f"JAX {jax.__version__} on {jax.devices()[0].device_kind}")
    target = jnp.asarray(img_as_float32(data.astronaut()))
    start = jax.random.uniform(jax.random.key(0), target.shape)
    result = fit(target, start, args.steps)
    before, after = 1 - loss(start, target), 1 - loss(result, target)
    print(f"SSIM before {before:.4f}, after {after:.4f}")

    ssim_map = fused_ssim(result, target, data_format="NHWC", reduction="none")
    images = {"target": target, "start": start, "result": result}
    draw(images, ssim_map.mean(axis=-1), args.output)
    print(f"wrote {args.output}")


if __name__ == "__main__":
    main()
