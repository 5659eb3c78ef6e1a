"""What a user passes as images and weights, made what the ops and their rules take."""

from jax import Array
from jax.typing import ArrayLike

from jax_fused_ssim.arguments import IMAGES, Padding, checked_images
from jax_fused_ssim.border import with_border
from jax_fused_ssim.placement import placed_alike
from jax_fused_ssim.spec import Spec
from jax_fused_ssim.weights import Weighting, checked_weights


def checked_operands(
    images: tuple[ArrayLike, ArrayLike],
    weights: ArrayLike | None,
    weighting: Weighting,
    padding: Padding,
    spec: Spec,
    reduction: str = "mean",
    names: tuple[str, str] = IMAGES,
) -> tuple[Array, Array, Array | None, Spec]:
    """Images, weights and the spec: checked, placed alike, with their border.

    Args:
      images: what the user passed.
      weights: what the user passed.
      weighting: what the user passed.
      padding: what the user passed.
      spec: as from `checked_spec`.
      reduction: what the user passed.
      names: of the images, for errors.

    Returns:
      Both images, the weights as from `checked_weights`, and the spec for them, as
      from `with_border`.
    """
    pair = placed_alike(*checked_images(*images, spec, names), spec)
    of_pixels = checked_weights(weights, weighting, pair, spec, reduction)
    (x, y), of_pixels, spec = with_border(pair, of_pixels, padding, spec)
    return x, y, of_pixels, spec
