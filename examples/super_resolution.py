"""Trains a small CNN that doubles the size of photographs, in bfloat16 (Flax NNX).

It learns what bicubic interpolation leaves out, with the loss 0.8 L1 + 0.2 (1 - SSIM),
and is compared with it on photographs that it has not seen.

    python examples/super_resolution.py --steps 300
"""

import argparse
import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx
from jax import Array
from skimage import data
from tqdm import trange

from jax_fused_ssim import fused_ms_ssim, image_metrics, photometric_loss

SCALE = 2
# Colour photographs that scikit-image carries in its wheel.
TRAINING = {
    "astronaut": data.astronaut,
    "hubble": data.hubble_deep_field,
    "motorcycle": lambda: data.stereo_motorcycle()[0],
    "rocket": data.rocket,
}
HELD_OUT = {"chelsea": data.chelsea, "coffee": data.coffee}
HELD_OUT_SIZE = (slice(300), slice(450))  # one shape, so one batch


class Upscaler(nnx.Module):
    """[N, H, W, 3] to [N, 2 H, 2 W, 3]: what a CNN adds to bicubic interpolation.

    The CNN computes in bfloat16, with parameters in float32; the sum is in float32.
    """

    def __init__(self, features: int, layers: int, rngs: nnx.Rngs):
        conv = functools.partial(
            nnx.Conv, kernel_size=(3, 3), dtype=jnp.bfloat16, rngs=rngs
        )
        self.first = conv(3, features)
        self.middle = nnx.List([conv(features, features) for _ in range(layers)])
        # Zeros: training starts from bicubic interpolation.
        self.last = conv(features, 3 * SCALE**2, kernel_init=nnx.initializers.zeros)

    def __call__(self, small: Array) -> Array:
        x = nnx.gelu(self.first(small - 0.5))
        for layer in self.middle:
            x = x + nnx.gelu(layer(x))
        # Pixel shuffle: the channels of a pixel become a square of SCALE x SCALE.
        n, h, w, _ = small.shape
        x = self.last(x).reshape(n, h, w, SCALE, SCALE, 3).swapaxes(2, 3)
        return bicubic(small) + x.reshape(n, SCALE * h, SCALE * w, 3)


def resized(images: Array, factor: float) -> Array:
    """Bicubic, of [N, H, W, C]; smoothed first where images become smaller."""
    n, h, w, c = images.shape
    return jax.image.resize(images, (n, int(h * factor), int(w * factor), c), "cubic")


def bicubic(small: Array) -> Array:
    return resized(small, SCALE)


def shrunk(pixels: Array) -> Array:
    """uint8 [N, H, W, 3] to float32 in [0, 1], of half the height and width."""
    return resized(pixels / jnp.float32(255), 1 / SCALE)


def loss_of(model: Upscaler, pixels: Array) -> Array:
    """0.8 L1 + 0.2 (1 - SSIM) against the uint8 pixels that were shrunk."""
    return photometric_loss(model(shrunk(pixels)), pixels, data_format="NHWC")


@nnx.jit
def train_step(model: Upscaler, optimizer: nnx.Optimizer, pixels: Array) -> Array:
    loss, gradients = nnx.value_and_grad(loss_of)(model, pixels)
    optimizer.update(model, gradients)
    return loss


def cut_patches(
    photographs: list[np.ndarray], step: int, args: argparse.Namespace
) -> np.ndarray:
    """uint8 [batch, patch, patch, 3]: random crops, flipped at random."""
    rng = np.random.default_rng((args.seed, step))
    patches = []
    for _ in range(args.batch):
        image = photographs[rng.integers(len(photographs))]
        y, x = rng.integers(np.array(image.shape[:2]) - args.patch + 1)
        down, right = rng.choice((-1, 1), size=2)
        patch = image[y : y + args.patch, x : x + args.patch]
        patches.append(patch[::down, ::right])
    return np.stack(patches)


def train(args: argparse.Namespace) -> Upscaler:
    model = Upscaler(args.features, args.layers, nnx.Rngs(args.seed))
    schedule = optax.warmup_cosine_decay_schedule(
        0, args.learning_rate, args.steps // 10, args.steps
    )
    optimizer = nnx.Optimizer(model, optax.adam(schedule), wrt=nnx.Param)
    photographs = [load() for load in TRAINING.values()]
    bar = trange(args.steps, unit="step")
    for step in bar:
        loss = train_step(model, optimizer, cut_patches(photographs, step, args))
        if step % 20 == 0:  # reading the value waits for the device
            bar.set_postfix_str(f"loss {loss:.4f}")
    return model


@nnx.jit
def evaluate(model: Upscaler, pixels: Array) -> dict[str, tuple[Array, Array, Array]]:
    """PSNR, SSIM and MS-SSIM of every photograph, enlarged in both ways."""
    small = shrunk(pixels)
    scores = {}
    for name, images in (("bicubic", bicubic(small)), ("model", model(small))):
        metrics = image_metrics(images, pixels, data_format="NHWC")
        ms_ssim = fused_ms_ssim(
            images, pixels, data_format="NHWC", reduction="per_image"
        )
        scores[name] = metrics.psnr, metrics.ssim, ms_ssim
    return scores


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add = parser.add_argument
    add("--steps", type=int, default=300)
    add("--batch", type=int, default=8)
    add("--patch", type=int, default=64, help="height and width that are predicted")
    add("--features", type=int, default=32)
    add("--layers", type=int, default=3, help="between the first and the last one")
    add("--learning-rate", type=float, default=3e-3)
    add("--seed", type=int, default=0)
    args = parser.parse_args()

    print(f"JAX {jax.__version__} on {jax.devices()[0].device_kind}")
    model = train(args)
    pixels = np.stack([load()[HELD_OUT_SIZE] for load in HELD_OUT.values()])
    for way, scores in evaluate(model, pixels).items():
        for name, psnr, ssim, ms_ssim in zip(HELD_OUT, *scores, strict=True):
            print(
                f"{name}, {way}: PSNR {psnr:.2f} dB, SSIM {ssim:.4f}, "
                f"MS-SSIM {ms_ssim:.4f}"
            )


if __name__ == "__main__":
    main()
