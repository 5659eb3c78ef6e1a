"""Checks what users pass, and turns it into what the ops take."""

import math
import numbers
from collections.abc import Collection, Mapping, Sequence
from typing import Any, Literal, get_args

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.typing import ArrayLike

from jax_fused_ssim.integer import DTYPES as INTEGERS
from jax_fused_ssim.integer import image_dtype, is_integer
from jax_fused_ssim.native import BOUNDS
from jax_fused_ssim.spec import Spec, compute_dtype
from jax_fused_ssim.warn import warn_user
from jax_fused_ssim.window import Window

Padding = Literal["same", "valid", "reflect", "symmetric", "edge"]
# Of these the modes of numpy.pad.
BORDERS = ("reflect", "symmetric", "edge")
DataFormat = Literal["NCHW", "NHWC"]
VolumeFormat = Literal["NCDHW", "NDHWC"]
Reduction = Literal["mean", "per_image", "per_channel", "none"]
# Of a loss, which has no map.
LossReduction = Literal["mean", "per_image", "per_channel"]
ErrorRegion = Literal["image", "map"]
Implementation = Literal["fused", "xla"] | None
# One number; an array of NumPy or JAX has no dimensions.
Number = float | np.number[Any] | np.ndarray[Any, Any] | Array

_ACCEPTED = {
    "padding": ("same", "valid", *BORDERS),
    "reduction": ("mean", "per_image", "per_channel", "none"),
    "error_region": ("image", "map"),
    "implementation": (None, "fused", "xla"),
}
_DTYPES = ("bfloat16", "float16", "float32", "float64")

# What functions call their images.
IMAGES = ("img1", "img2")
# More channels than this, and fewer rows or columns, are unusual for an image.
_FEW = 4


def check_keywords(
    function: str, keywords: Mapping[str, Any], known: Collection[str]
) -> None:
    """Raises the TypeError of Python for a keyword that a function does not have."""
    for name in keywords:
        if name not in known:
            raise TypeError(f"{function}() got an unexpected keyword argument {name!r}")


def checked_spec(
    padding: Padding,
    *,
    volumes: bool = False,
    data_format: DataFormat | VolumeFormat = "NCHW",
    reduction: Reduction = "mean",
    error_region: ErrorRegion = "image",
    implementation: Implementation = None,
    window_size: int = 11,
    sigma: Number | None = 1.5,
    sample_covariance: bool = False,
    **positive: Number,
) -> Spec:
    """The static parameters, checked: the arguments and errors of `fused_ssim`, or with
    `volumes` of `fused_ssim3d`.

    Those that are positive numbers are fields of `Spec` under the same name.
    """
    given = {
        "padding": padding,
        "data_format": data_format,
        "reduction": reduction,
        "error_region": error_region,
        "implementation": implementation,
    }
    accepted = {**_ACCEPTED, "data_format": _formats(volumes)}
    for name, value in given.items():
        check_choice(name, value, accepted[name])
    axes = 3 if volumes else 2
    padded, cropped = padding != "valid", error_region == "map"
    numbers = {name: _positive(name, value) for name, value in positive.items()}
    window = _checked_window(window_size, sigma)
    if not isinstance(sample_covariance, bool | np.bool_):
        raise TypeError(
            f"sample_covariance must be True or False; got {sample_covariance!r}"
        )
    if sample_covariance:
        # n / (n - 1) times variances and covariance is (n - 1) / n times C2.
        count = window.size**axes
        numbers["k2"] = numbers.get("k2", Spec.k2) * math.sqrt((count - 1) / count)
    return Spec(
        window=window,
        volumes=volumes,
        padding=(padded,) * axes,
        crop=(cropped,) * axes,
        channels_last=data_format.endswith("C"),
        implementation=implementation,
        **numbers,
    )


def _formats(volumes: bool) -> tuple[str, str]:
    """With channels first, and last."""
    return get_args(VolumeFormat if volumes else DataFormat)


def _checked_window(window_size: Any, sigma: Any) -> Window:
    size = _static_number("window_size", window_size, "Pass a Python int.")
    if not (math.isfinite(size) and size == int(size)):
        raise ValueError(f"window_size must be a whole number; got {window_size!r}")
    if size < 2:
        raise ValueError(
            f"window_size must be at least 2, as one pixel has no variance; got "
            f"{window_size!r}"
        )
    return Window(int(size), None if sigma is None else _positive("sigma", sigma))


def check_choice(name: str, value: Any, accepted: Sequence[str | None]) -> None:
    """Raises a ValueError for what is not accepted."""
    if not (value is None or isinstance(value, str)) or value not in accepted:
        options = ", ".join(map(repr, accepted))
        raise ValueError(f"{name} must be one of {options}; got {value!r}")


def check_reduces_images(
    result: str, reduction: str, accepted: Sequence[str] = ("mean", "per_image")
) -> None:
    """Raises a ValueError for a reduction of `fused_ssim` that leaves more of an image
    than the result, so called in the error, has."""
    if reduction in _ACCEPTED["reduction"] and reduction not in accepted:
        options = ", ".join(f'"{a}"' for a in accepted)
        raise ValueError(
            f"reduction must be one of {options}; {result} has no more of an image. "
            "Take fused_ssim for that of the SSIM."
        )


def checked_weight(name: str, value: Any) -> float:
    """A finite number that is not traced."""
    number = _static_number(name, value, "Pass a Python number.")
    if not math.isfinite(number):
        raise ValueError(f"{name} must be finite; got {value!r}")
    return number


def checked_images(
    img1: ArrayLike,
    img2: ArrayLike,
    spec: Spec,
    names: tuple[str, str] = IMAGES,
) -> tuple[Array, Array]:
    """The images as arrays, checked: the errors of `fused_ssim`.

    Those that are not integers have one dtype.
    """
    x, y = as_array(img1), as_array(img2)
    for name, a in zip(names, (x, y), strict=True):
        if a.dtype.name not in (*_DTYPES, *INTEGERS):
            hint = (
                "; convert it, and set data_range to the largest value"
                if jnp.issubdtype(a.dtype, jnp.integer)
                else ""
            )
            raise TypeError(
                f"{name} must have one of the dtypes "
                f"{', '.join((*_DTYPES, *INTEGERS))}; got {a.dtype.name}{hint}"
            )
    if x.shape != y.shape:
        raise ValueError(
            f"{' and '.join(names)} must have one shape; got {x.shape} and {y.shape}"
        )
    if x.ndim < spec.image_ndim:
        grey = "x[..., None]" if spec.channels_last else "x[None]"
        what, one = ("volumes", "volume") if spec.volumes else ("images", "grey image")
        raise ValueError(
            f"{what} must be {spec.layout}; got {x.ndim} dimensions: {x.shape}. A "
            f"{one} x of one channel is {grey}."
        )
    if any(isinstance(d, int) and d == 0 for d in x.shape):
        raise ValueError(f"images must have no empty dimension; got {x.shape}")
    for axis, padded in zip(spec.spatial_axes, spec.padding, strict=True):
        side = x.shape[axis]
        if not padded and isinstance(side, int) and side < spec.window.size:
            *others, last = spec.sides
            raise ValueError(
                f'padding="valid" needs {", ".join(others)} and {last} of at least '
                f"{spec.window.size}; got {spec.layout} = {x.shape}. "
                f'{layout_hint(x.shape, spec)}Use padding="same" for images that are '
                "smaller."
            )
    if hint := layout_hint(x.shape, spec):
        warn_user(f"images are read as {spec.layout} = {x.shape}. {hint}", UserWarning)
    if not is_integer(x) and not is_integer(y):
        dtype = jnp.promote_types(x.dtype, y.dtype)
        x, y = x.astype(dtype), y.astype(dtype)
    _check_bounds(spec, compute_dtype(image_dtype(x, y)).name)
    return x, y


def layout_hint(shape: Sequence[Any], spec: Spec) -> str:
    """A sentence on the other layout, if images of this shape look like it."""
    sides = shape[-spec.image_ndim :]
    if not all(isinstance(n, int) for n in sides):
        return ""
    first, last = _formats(spec.volumes)
    if spec.channels_last:
        channels, others = sides[0], sides[1:]
        hint = f'If channels are first, use data_format="{first}". '
    else:
        channels, others = sides[-1], sides[:-1]
        hint = f'If channels are last, use data_format="{last}". '
    return hint if channels <= _FEW < min(others) else ""


def as_array(a: ArrayLike) -> Array:
    """As `jnp.asarray`, of any byte order."""
    dtype = getattr(a, "dtype", None)
    if isinstance(dtype, np.dtype) and not dtype.isnative:
        # As in FITS files. JAX knows no byte order but the machine's.
        a = np.asarray(a).astype(dtype.newbyteorder("="))
    return jnp.asarray(a)


def _check_bounds(spec: Spec, dtype: str) -> None:
    for name, bounds in BOUNDS.items():
        (least, most), value = bounds[dtype], getattr(spec, name)
        if not least <= value <= most:
            raise ValueError(
                f"{name} must be within [{least:g}, {most:g}], as arithmetic is in "
                f"{dtype}; got {value!r}"
            )


def _positive(name: str, value: Any) -> float:
    way_out = (
        "Divide the images by it, fused_ssim(x / L, y / L), and leave data_range at 1."
        if name == "data_range"
        else "Pass a Python number."
    )
    number = _static_number(name, value, way_out)
    if not (math.isfinite(number) and number > 0):
        raise ValueError(f"{name} must be positive and finite; got {value!r}")
    return number


def _static_number(name: str, value: Any, way_out: str) -> float:
    if isinstance(value, jax.core.Tracer):
        raise TypeError(
            f"{name} is static and cannot be traced; got {value}. {way_out}"
        )
    number = value
    if isinstance(value, np.ndarray | np.generic | Array):
        if value.ndim:
            raise TypeError(
                f"{name} must be one number; got an array of shape {value.shape}"
            )
        if jnp.issubdtype(value.dtype, jnp.integer) or jnp.issubdtype(
            value.dtype, jnp.floating
        ):
            number = float(value)
    if isinstance(number, bool) or not isinstance(number, numbers.Real):
        raise TypeError(
            f"{name} must be a real number; got {value!r} of type "
            f"{type(value).__name__}"
        )
    return float(number)
