"""Image pairs to test with, as float64 [C, H, W] arrays in [0, 1]."""

import functools

import numpy as np
from scipy import ndimage
from skimage import data, img_as_float64

# Of all pairs but one: plain JAX is compiled anew for every shape.
SHAPE = (3, 119, 203)
LARGE = "large photograph and blur"


@functools.cache
def photograph(name="astronaut"):
    image = img_as_float64(getattr(data, name)())
    return image[None] if image.ndim == 2 else np.moveaxis(image, -1, 0)


def noise(shape, seed=0):
    return np.random.default_rng(seed).random(shape)


def noise_pair(shape, dtype="float32"):
    return [noise(shape, seed).astype(dtype) for seed in (1, 2)]


def noisy(image, sigma=0.1, seed=0):
    return image + sigma * np.random.default_rng(seed).standard_normal(image.shape)


def blurred(image, sigma=2.0):
    return ndimage.gaussian_filter(image, (0, sigma, sigma))


def smooth(shape):
    """Waves, and the same a little darker, with a little noise on both."""
    _, h, w = shape
    y, x = np.mgrid[:h, :w]
    waves = 0.5 + 0.4 * np.sin(0.05 * y) * np.cos(0.03 * x)
    a, b = (0.02 * (noise(shape, seed) - 0.5) for seed in (1, 2))
    return waves + a, 0.95 * waves + b


def flat(shape, level, spread):
    """Nearly constant planes."""
    return level + spread * (2 * noise(shape, 1) - 1), level + spread * (
        2 * noise(shape, 2) - 1
    )


@functools.cache
def pairs():
    """Name: the pair, and the tolerances that float32 must meet on it: the relative L2
    error of the gradient and the largest error of the map."""
    _, h, w = SHAPE
    chelsea = photograph("chelsea")[:, 50 : 50 + h, 100 : 100 + w]
    astronaut = photograph("astronaut")[:, :400]
    return {
        "noise": ((noise(SHAPE, 1), noise(SHAPE, 2)), 1e-6, 1e-5),
        "photograph and noise": ((chelsea, noisy(chelsea)), 1e-6, 5e-5),
        "photograph and blur": ((chelsea, blurred(chelsea)), 5e-6, 5e-5),
        "photograph, shifted": ((chelsea, np.roll(chelsea, 2, -1)), 5e-6, 5e-5),
        "smooth": (smooth(SHAPE), 5e-6, 5e-5),
        "flat and bright": (flat(SHAPE, 0.95, 0.002), 2e-5, 5e-5),
        "flat and dark": (flat(SHAPE, 0.01, 0.002), 2e-5, 5e-5),
        LARGE: ((astronaut, blurred(astronaut)), 5e-6, 5e-5),
    }
