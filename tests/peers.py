"""Other implementations: what the calls in docs/conventions.md name, on NumPy arrays.

A library is imported by the function that needs it.
"""

import dataclasses
import functools
import importlib.metadata
import os
import re
import shutil
import subprocess
import sys
import tempfile
import types
from collections.abc import Callable
from pathlib import Path

import formulas
import numpy as np

# Keras reads it where it is first imported.
os.environ.setdefault("KERAS_BACKEND", "jax")


@dataclasses.dataclass(frozen=True)
class Peer:
    """An implementation.

    Attributes:
      names: what its calls name; imports it.
      version: its version, or None where it is not installed; without it, a formula.
      large: whether it is too large to be installed for tests, which have its values.
      batch: whether its images have a batch dimension.
      bytes: whether they are uint8.
      channels: of the images to compare on.
    """

    names: Callable[[], dict]
    version: Callable[[], str | None] | None = None
    large: bool = False
    batch: bool = False
    bytes: bool = False
    channels: tuple[int, ...] = (1, 3)


def by_torch(function):
    """A PyTorch function on NumPy arrays."""

    def call(*arrays, **options):
        import torch

        # The workers of a test run share the cores: more threads wait for each other.
        torch.set_num_threads(1)
        tensors = (torch.from_numpy(np.ascontiguousarray(a)) for a in arrays)
        return function(*tensors, **options).numpy()

    return call


def _scikit_image():
    from skimage.metrics import structural_similarity

    return {"structural_similarity": structural_similarity}


def _pytorch_msssim():
    import pytorch_msssim

    return {
        "ssim": by_torch(pytorch_msssim.ssim),
        "ms_ssim": by_torch(pytorch_msssim.ms_ssim),
    }


def _torchmetrics():
    from torchmetrics.functional import image

    names = (
        "structural_similarity_index_measure",
        "multiscale_structural_similarity_index_measure",
    )
    return {name: by_torch(getattr(image, name)) for name in names}


def _dm_pix():
    import dm_pix

    return {"ssim": dm_pix.ssim}


def _kornia():
    from kornia import metrics

    return {"ssim": by_torch(metrics.ssim)}


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


def _piq():
    module = _with_piq()
    return {
        "ssim": by_torch(module.ssim),
        "multi_scale_ssim": by_torch(module.multi_scale_ssim),
    }


def _opencv():
    from cv2 import quality

    return {"quality": quality}


def _sewar():
    from sewar import full_ref

    return {"ssim": full_ref.ssim, "msssim": full_ref.msssim}


def _monai():
    from monai.metrics import regression

    names = ("SSIMMetric", "MultiScaleSSIMMetric")
    return {
        name: functools.partial(
            lambda metric, **options: by_torch(metric(**options)),
            getattr(regression, name),
        )
        for name in names
    }


def _keras():
    from keras import ops

    return {"ops": ops}


def _tensorflow():
    import tensorflow

    return {"tf": tensorflow}


def _ffmpeg_version():
    if shutil.which("ffmpeg") is None:
        return None
    said = subprocess.run(["ffmpeg", "-version"], capture_output=True, text=True)
    return re.search(r"version n?(\d+(\.\d+)*)", said.stdout)[1]


def _ffmpeg_ssim(x, y):
    """As its filter prints it, of [C, H, W] bytes."""
    channels, height, width = x.shape
    planes = {1: "gray", 3: "gbrp"}[channels]
    with tempfile.TemporaryDirectory() as folder:
        inputs = []
        for name, image in {"x": x, "y": y}.items():
            path = Path(folder, name)
            path.write_bytes(image.tobytes())
            form = ["-f", "rawvideo", "-pix_fmt", planes, "-s", f"{width}x{height}"]
            inputs += [*form, "-i", str(path)]
        done = subprocess.run(
            ["ffmpeg", *inputs, "-lavfi", "ssim", "-f", "null", "-"],
            capture_output=True,
            text=True,
            check=True,
        )
    return float(re.search(r"All:([\d.]+)", done.stderr)[1])


def _library(names, distribution, **options):
    """A Python library, by the name that it is installed by."""

    def version():
        try:
            return importlib.metadata.version(distribution)
        except importlib.metadata.PackageNotFoundError:
            return None

    return Peer(names, version, **options)


def _formula(channels=(1, 3), **names):
    return Peer(lambda: names, channels=channels)


# By their names in the tables.
PEERS = {
    "scikit-image": _library(_scikit_image, "scikit-image"),
    "pytorch-msssim": _library(_pytorch_msssim, "pytorch-msssim", batch=True),
    "torchmetrics": _library(_torchmetrics, "torchmetrics", batch=True),
    "dm_pix": _library(_dm_pix, "dm-pix"),
    "kornia": _library(_kornia, "kornia", batch=True),
    "piq": _library(_piq, "piq", batch=True),
    "OpenCV": _library(_opencv, "opencv-contrib-python-headless"),
    "sewar": _library(_sewar, "sewar"),
    "MONAI": _library(_monai, "monai", batch=True),
    "Keras": _library(_keras, "keras"),
    "TensorFlow": _library(_tensorflow, "tensorflow-cpu", large=True),
    "ffmpeg": Peer(
        lambda: {"ssim": _ffmpeg_ssim}, _ffmpeg_version, large=True, bytes=True
    ),
    "fused-ssim": _formula(fused_ssim=formulas.fused_ssim),
    "Wang's ssim_index.m": _formula(ssim_index=formulas.ssim_index),
    "Wang's ssim.m": _formula(ssim=formulas.wang_ssim, channels=(1,)),
    "Wang's msssim.m": _formula(msssim=formulas.msssim, channels=(1,)),
    "MATLAB, grey": _formula(
        ssim=formulas.matlab_ssim, multissim=formulas.multissim, channels=(1,)
    ),
    "MATLAB, RGB": _formula(ssim=formulas.matlab_ssim_of_volume, channels=(3,)),
    "BasicSR": _formula(calculate_ssim=formulas.calculate_ssim, channels=(3,)),
    "fastMRI": _formula(ssim=formulas.fastmri_ssim, SSIMLoss=formulas.SSIMLoss),
}
