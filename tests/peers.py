"""Other libraries, and formulas of such as cannot be installed, as docs/conventions.md
has them: every row of its tables as two functions of a pair of images.

Images are float64 arrays [C, H, W] in [0, 1]; a value is that of the pair. A library is
imported by the function that needs it.
"""

import dataclasses
import sys
import types
from collections.abc import Callable
from functools import partial

import jax.numpy as jnp
import numpy as np
import reference

from jax_fused_ssim import conventions, fused_ms_ssim, fused_ssim


@dataclasses.dataclass(frozen=True)
class Row:
    """A row of a table.

    Attributes:
      theirs: (x, y) to a number.
      ours: the same, with the keywords of the convention.
      library: the distribution, None for a formula.
      exact: whether the arguments reproduce it, but for rounding.
      channels: of the images that it takes.
    """

    theirs: Callable
    ours: Callable
    library: str | None = None
    exact: bool = True
    channels: tuple[int, ...] = (1, 3)


def _ours(x, y, **convention):
    return fused_ssim(x, y, **convention)


def _ours_ms(x, y, **convention):
    return fused_ms_ssim(x, y, **convention)


def _batch(a, dtype=None):
    import torch

    return torch.from_numpy(np.ascontiguousarray(a[None])).to(dtype or torch.float64)


def _last(a):
    return np.ascontiguousarray(np.moveaxis(a, 0, -1))


def scikit_image(x, y, **options):
    from skimage.metrics import structural_similarity

    return structural_similarity(x, y, channel_axis=0, data_range=1.0, **options)


def pytorch_msssim(x, y):
    import pytorch_msssim

    return pytorch_msssim.ssim(_batch(x), _batch(y), data_range=1.0).item()


def ms_pytorch_msssim(x, y):
    import pytorch_msssim

    return pytorch_msssim.ms_ssim(_batch(x), _batch(y), data_range=1.0).item()


def torchmetrics(x, y):
    from torchmetrics.functional.image import structural_similarity_index_measure

    of_pair = structural_similarity_index_measure(_batch(x), _batch(y), data_range=1.0)
    return of_pair.item()


def ms_torchmetrics(x, y):
    from torchmetrics.functional.image import (
        multiscale_structural_similarity_index_measure as ms_ssim,
    )

    return ms_ssim(_batch(x), _batch(y), data_range=1.0).item()


def dm_pix(x, y):
    import dm_pix

    return float(dm_pix.ssim(_last(x), _last(y)))


def kornia(x, y):
    from kornia.metrics import ssim

    return ssim(_batch(x), _batch(y), window_size=11).mean().item()


class _StandIn(types.ModuleType):
    """Has a module of any name, and a class of any name in capitals."""

    def __getattr__(self, name):
        if name.startswith("__"):
            raise AttributeError(name)
        import torch

        is_class = name[0].isupper()
        return type(name, (torch.nn.Module,), {}) if is_class else _StandIn(name)


def _with_piq():
    """The module, which imports torchvision for other metrics than these."""
    try:
        import torchvision  # noqa: F401
    except (ImportError, RuntimeError):
        names = ("torchvision", "torchvision.models")
        sys.modules.update((name, _StandIn(name)) for name in names)
        try:
            import piq
        finally:
            for name in names:
                del sys.modules[name]
        return piq
    import piq

    return piq


def piq(x, y, **options):
    return _with_piq().ssim(_batch(x), _batch(y), data_range=1.0, **options).item()


def ms_piq(x, y):
    return _with_piq().multi_scale_ssim(_batch(x), _batch(y), data_range=1.0).item()


def opencv(x, y):
    import cv2

    images = (_last(255 * a).astype(np.float32) for a in (x, y))
    of_channels, _ = cv2.quality.QualitySSIM_compute(*images)
    return float(np.mean(of_channels[: len(x)]))


def sewar(x, y):
    from sewar.full_ref import ssim

    value, _ = ssim(_last(x), _last(y), MAX=1.0)
    return float(value)


def ms_sewar(x, y):
    from sewar.full_ref import msssim

    return float(np.real(msssim(_last(x), _last(y), MAX=1.0)))


def monai(x, y):
    from monai.metrics.regression import SSIMMetric

    return SSIMMetric(spatial_dims=2)(_batch(x), _batch(y)).item()


def ms_monai(x, y):
    from monai.metrics.regression import MultiScaleSSIMMetric

    return MultiScaleSSIMMetric(spatial_dims=2)(_batch(x), _batch(y)).item()


def keras(x, y):
    from keras import ops

    images = (_last(a).astype(np.float32) for a in (x, y))
    return float(ops.image.ssim(*images, max_val=1.0, data_format="channels_last"))


def ssim_index(x, y, data_range=1.0):
    """Of Wang's first program: whole windows alone."""
    return float(reference.ssim_map(x, y, (False, False), data_range).mean())


def matlab(x, y):
    """The border repeats the outermost pixel."""
    x, y = (np.pad(a, ((0, 0), (5, 5), (5, 5)), "edge") for a in (x, y))
    return ssim_index(x, y)


def fastmri(x, y):
    """Each slice, here a channel, has the range of the volume."""
    options = {"data_range": y.max(), "of": (7, None), "sample": True}
    return float(reference.ssim_map(x, y, (False, False), **options).mean())


def _studio_luma(a):
    """In [0, 255], after MATLAB's rgb2ycbcr."""
    weights = np.array([65.481, 128.553, 24.966])
    return np.tensordot(weights, a, 1)[None] + 16


def basicsr(x, y, border=4):
    cropped = (a[:, border:-border, border:-border] for a in (x, y))
    return ssim_index(*(_studio_luma(a) for a in cropped), data_range=255.0)


def _ours_basicsr(x, y, border=4, **convention):
    of_luma = (
        conventions.crop_border(
            conventions.luma(255 * jnp.asarray(a), data_range=255.0), border
        )
        for a in (x, y)
    )
    return fused_ssim(*of_luma, **convention)


def wang_newer(x, y):
    """Of ssim.m: every f-th pixel of the images under a square of f x f."""
    from scipy.ndimage import uniform_filter

    factor = max(1, int(np.floor(min(x.shape[1:]) / 256 + 0.5)))
    # A square of an even side is centred on the pixel before its middle, as there.
    origin = -((factor + 1) % 2)
    x, y = (
        np.stack([uniform_filter(c, factor, mode="reflect", origin=origin) for c in a])
        for a in (x, y)
    )
    return ssim_index(*(a[:, ::factor, ::factor] for a in (x, y)))


def _ours_downsampled(x, y, centred=False, **convention):
    x, y = (conventions.downsampled(a, centred=centred) for a in (x, y))
    return fused_ssim(x, y, **convention)


def ffmpeg(x, y):
    """Of its filter: the sums of windows of 8 x 8 in steps of 4, with its constants.
    Squares of sums are 64^2 times those of means, and its C1 but 64 times."""
    c1, c2 = int(0.01**2 * 255**2 * 64 + 0.5), int(0.03**2 * 255**2 * 64 * 63 + 0.5)
    x, y = (np.round(255 * a) for a in (x, y))
    of_channels = []
    for a, b in zip(x, y, strict=True):
        windows = [
            np.lib.stride_tricks.sliding_window_view(v, (8, 8))[::4, ::4]
            for v in (a, b, a * a + b * b, a * b)
        ]
        s1, s2, ss, s12 = (w.sum((-2, -1)) for w in windows)
        variances = ss * 64 - s1 * s1 - s2 * s2
        covariance = s12 * 64 - s1 * s2
        numerator = (2 * s1 * s2 + c1) * (2 * covariance + c2)
        denominator = (s1 * s1 + s2 * s2 + c1) * (variances + c2)
        of_channels.append((numerator / denominator).mean())
    return float(np.mean(of_channels))


def _of_scales(x, y, **options):
    return float(reference.ms_ssim(x, y, **options))


def _one(convention):
    return partial(_ours, **convention)


def _ms(convention):
    return partial(_ours_ms, **convention)


C = conventions
GAUSSIAN = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False}
ONE_SCALE = {
    "scikit-image": Row(scikit_image, _one(C.SCIKIT_IMAGE), "scikit-image"),
    "scikit-image, Wang's settings": Row(
        partial(scikit_image, **GAUSSIAN), _one(C.SCIKIT_IMAGE_WANG), "scikit-image"
    ),
    "pytorch-msssim": Row(pytorch_msssim, _one(C.PYTORCH_MSSSIM), "pytorch-msssim"),
    "torchmetrics": Row(torchmetrics, _one(C.TORCHMETRICS), "torchmetrics"),
    "dm_pix": Row(dm_pix, _one(C.DM_PIX), "dm-pix"),
    "kornia": Row(kornia, _one(C.KORNIA), "kornia"),
    "piq": Row(piq, partial(_ours_downsampled, **C.PIQ), "piq"),
    "piq, downsample=False": Row(partial(piq, downsample=False), _one(C.PIQ), "piq"),
    "OpenCV": Row(
        opencv,
        lambda x, y: _ours(255 * x, 255 * y, **C.OPENCV),
        "opencv-contrib-python-headless",
    ),
    "sewar": Row(sewar, _one(C.SEWAR), "sewar"),
    "MONAI": Row(monai, _one(C.MONAI), "monai"),
    "Keras": Row(keras, _one(C.KERAS), "keras"),
    "TensorFlow": Row(ssim_index, _one(C.TENSORFLOW)),
    "Wang's ssim_index.m": Row(ssim_index, _one(C.WANG)),
    "Wang's ssim.m": Row(
        wang_newer, partial(_ours_downsampled, centred=True, **C.WANG), channels=(1,)
    ),
    "MATLAB ssim, grey": Row(matlab, _one(C.MATLAB), channels=(1,)),
    "BasicSR, luma": Row(basicsr, partial(_ours_basicsr, **C.BASICSR), channels=(3,)),
    "fastMRI": Row(fastmri, lambda x, y: _ours(x, y, data_range=y.max(), **C.FASTMRI)),
    "ffmpeg": Row(
        ffmpeg,
        partial(
            _ours,
            padding="valid",
            window_size=8,
            sigma=None,
            sample_covariance=True,
        ),
        exact=False,
    ),
}
SCALES = {
    "TensorFlow": Row(_of_scales, _ms(C.MS_TENSORFLOW)),
    "MATLAB multissim": Row(
        partial(_of_scales, weights=(0.0545, 0.2442, 0.4026, 0.2442, 0.0545)),
        _ms(C.MS_MATLAB),
        channels=(1,),
    ),
    "pytorch-msssim": Row(
        ms_pytorch_msssim, _ms(C.MS_PYTORCH_MSSSIM), "pytorch-msssim"
    ),
    "MONAI": Row(ms_monai, _ms(C.MS_MONAI), "monai"),
    "torchmetrics": Row(ms_torchmetrics, _ms(C.MS_MONAI), "torchmetrics", exact=False),
    "piq": Row(ms_piq, _ms(C.MS_TENSORFLOW), "piq", exact=False),
    "sewar": Row(ms_sewar, _ms(C.MS_MONAI), "sewar", exact=False),
}
