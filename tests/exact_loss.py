"""What the tests of `photometric_loss` share: what is right, in extended precision."""

import numpy as np
import pytest
import reference

from jax_fused_ssim import PhotometricTerms

REAL = reference.REAL
PADDED = {"same": (True, True), "valid": (False, False)}
WEIGHTS = {"ssim_weight": 0.3, "l1_weight": 0.6, "l2_weight": 0.5}

every_dtype = pytest.mark.parametrize(
    "dtype", ["float16", "bfloat16", "float32", "float64"]
)
every_format = pytest.mark.parametrize("data_format", ["NCHW", "NHWC"])


class Exact:
    """What is right for images [..., C, H, W]: losses and terms of every image, and the
    gradients of the sum of all losses."""

    def __init__(
        self,
        x,
        y,
        *,
        padding="same",
        error_region="image",
        data_range=1.0,
        ssim_weight=0.2,
        l1_weight=None,
        l2_weight=0.0,
    ):
        l1_weight = 1 - ssim_weight if l1_weight is None else l1_weight
        crop = [error_region == "map" and not p for p in PADDED[padding]]
        options = {"padding": PADDED[padding], "data_range": data_range}
        similarity = reference.Similarity(x, y, **options)
        ssim = similarity.map
        l1, l2 = reference.errors(x, y, crop, data_range)
        each = (-3, -2, -1)
        self.terms = PhotometricTerms(*[a.mean(each) for a in (l1, l2, ssim)])
        self.losses = (
            l1_weight * self.terms.l1
            + l2_weight * self.terms.l2
            + ssim_weight * (1 - self.terms.ssim)
        )
        of_ssim, of_errors = (1 / REAL(np.prod(a.shape[-3:])) for a in (ssim, l1))
        cotangent = np.full(ssim.shape, -ssim_weight * of_ssim)
        weights = (l1_weight * of_errors, l2_weight * of_errors)
        self.gradients = [
            gradient + reference.error_gradient(*pair, *weights, crop, data_range)
            for gradient, pair in zip(
                similarity.gradients(cotangent), ((x, y), (y, x)), strict=True
            )
        ]
