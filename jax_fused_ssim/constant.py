"""Results that count as constants: differentiating them is an error.

`jax.lax.stop_gradient` would give a gradient of zeros, with which an optimiser goes on
as if nothing had happened.
"""

import functools
from collections.abc import Sequence
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
from jax import Array
from jax.extend.core import Primitive
from jax.interpreters import ad, batching, mlir

T = TypeVar("T")


def constant(tree: T, why: str) -> T:
    """The arrays themselves, whose tangents are zero.

    Args:
      tree: a tree of arrays.
      why: the message of the TypeError that is raised where a cotangent arrives. A
        result beside a loss, as with `has_aux`, gets none.
    """
    return jax.tree.map(lambda a: _constant(a, why), tree)


def no_tangent(tangent: Array, why: str) -> Array:
    """Zeros, as the tangent of what is constant.

    Args:
      tangent: anything linear in the tangents of the arguments.
      why: as in `constant`.
    """
    return _no_tangent_p.bind(tangent, why=why)


@functools.partial(jax.custom_jvp, nondiff_argnums=(1,))
def _constant(a: Array, why: str) -> Array:
    return a


@_constant.defjvp
def _constant_jvp(why: str, primals: Any, tangents: Any) -> tuple[Array, Array]:
    return _constant(*primals, why), no_tangent(*tangents, why)


def _transpose(cotangent: Any, a: Any, *, why: str) -> list[Any]:
    if isinstance(cotangent, ad.Zero):
        return [None]
    raise TypeError(why)


def _batch(
    args: Sequence[Array], dims: Sequence[int], *, why: str
) -> tuple[Array, int]:
    return _no_tangent_p.bind(*args, why=why), dims[0]


def _zeros(a: Array, *, why: str) -> Array:
    return jnp.zeros_like(a)


_no_tangent_p = Primitive("jax_fused_ssim_no_tangent")
_no_tangent_p.def_impl(_zeros)
_no_tangent_p.def_abstract_eval(lambda a, *, why: a)
ad.deflinear2(_no_tangent_p, _transpose)
batching.primitive_batchers[_no_tangent_p] = _batch
mlir.register_lowering(_no_tangent_p, mlir.lower_fun(_zeros, multiple_results=False))
