"""The calls that a page gives for those of other libraries, run beside them."""

import re

import dm_pix
import images
import jax
import numpy as np
import pages
import pytest
from skimage.metrics import structural_similarity

import jax_fused_ssim

PAGE = pages.ROOT / "docs" / "coming-from.md"


def rows():
    """(library, its call, ours) as the page's table has them."""
    text = PAGE.read_text()
    table = text[text.index("## Whole calls") : text.index("The window is that")]
    library, found = "", []
    for line in table.splitlines():
        cells = re.match(r"\| ([\w-]*) ?\| `(.+)` \| `(.+)` \|$", line)
        if cells:
            library = cells[1] or library
            found.append((library, cells[2], cells[3]))
    return found


def by_torch(function):
    """A PyTorch function on NumPy arrays."""
    import torch

    def call(x, y, **options):
        return function(torch.from_numpy(x), torch.from_numpy(y), **options).numpy()

    return call


def theirs(library):
    """The functions of a library by name; skips where it is not installed."""
    if library == "dm_pix":
        return {"ssim": dm_pix.ssim}
    if library == "scikit-image":
        return {"structural_similarity": structural_similarity}
    pytest.importorskip("torch")
    if library == "pytorch-msssim":
        module = pytest.importorskip("pytorch_msssim")
        return {"ssim": by_torch(module.ssim)}
    if library == "torchmetrics":
        module = pytest.importorskip("torchmetrics.functional.image")
        name = "structural_similarity_index_measure"
        return {name: by_torch(getattr(module, name))}
    pytest.skip(
        f"{library} runs on GPUs only, where benchmarks/ checks ours against it"
    )
    return {}


def test_the_table_is_read():
    libraries = {library for library, *_ in rows()}
    assert libraries == {
        "fused-ssim",
        "pytorch-msssim",
        "dm_pix",
        "scikit-image",
        "torchmetrics",
    }


@pytest.mark.parametrize(("library", "their_call", "our_call"), rows())
@pytest.mark.parametrize("pair", ["noise", "photograph"])
def test_same_values(pair, library, their_call, our_call):
    functions = theirs(library)
    if pair == "noise":
        x, y = (images.noise((2, 3, 40, 50), seed) for seed in (1, 2))
    else:
        x = images.photograph("chelsea")[None, :, :200, :250]
        y = np.clip(images.noisy(x), 0, 1)
    if "NHWC" in our_call:
        x, y = (np.ascontiguousarray(np.moveaxis(a, 1, -1)) for a in (x, y))
    if library == "scikit-image":
        x, y = x[0], y[0]
    if "data_range=255" in our_call:
        x, y = 255 * x, 255 * y
    ours = {"fused_ssim": jax_fused_ssim.fused_ssim}
    with jax.enable_x64(True):
        expected = eval(their_call, functions, {"x": x, "y": y})
        found = eval(our_call, ours, {"x": x, "y": y})
    assert found.shape == np.shape(expected)
    # Whatever the images are, the window of pytorch-msssim is computed in float32.
    shift = {"noise": 2e-7, "photograph": 3e-6}[pair]
    atol = shift if library == "pytorch-msssim" else 1e-12
    np.testing.assert_allclose(found, expected, rtol=0, atol=atol)
