"""The kernels in every combination of what a test is given, plain JAX in fewer.

Every program of plain JAX takes seconds to compile. It has no tiles, no layouts of its
own and no code for a single dtype: what can be wrong there is a value, or two that do
not go together. The combinations are such that every two values meet in one of them.
"""

import functools
import itertools

import pytest


def in_pairs(*axes):
    """Of the product of the axes, some in which every two values of two axes meet."""
    if len(axes) < 2:
        return list(itertools.product(*axes))
    cases = list(itertools.product(*(range(len(axis)) for axis in axes)))

    def pairs(case):
        return set(itertools.combinations(enumerate(case), 2))

    missing, chosen = set().union(*map(pairs, cases)), []
    while missing:
        best = max(cases, key=lambda case: len(pairs(case) & missing))
        missing -= pairs(best)
        chosen.append(best)
    return [
        tuple(axis[i] for axis, i in zip(axes, case, strict=True))
        for case in sorted(chosen)
    ]


def in_turn(*axes):
    """Of the product of the axes, as many as the longest has values: every value of
    every axis is in one, and the shorter ones repeat."""
    count = max(map(len, axes))
    return [tuple(axis[i % len(axis)] for axis in axes) for i in range(count)]


def _name(value):
    return getattr(value, "__name__", None) or str(value)


def _axis(mark):
    """The names and the parameters of a mark."""
    names, values = mark.args
    if isinstance(names, str):
        names = names.split(",")
    plain = [v if hasattr(v, "marks") else pytest.param(v) for v in values]
    if len(names) > 1:
        plain = [v if hasattr(v, "marks") else pytest.param(*v) for v in values]
    return names, plain


def implementations(
    function=None, *, slow=True, kernels=itertools.product, plain=in_pairs
):
    """Parametrises a test by `implementation`, and by the marks below this one.

    `slow`: whether `make test-fast` leaves plain JAX out. `kernels`: what gives the
    combinations of the kernels. `plain`: those of plain JAX.
    """
    if function is None:
        return functools.partial(
            implementations, slow=slow, kernels=kernels, plain=plain
        )
    marks = getattr(function, "pytestmark", [])
    axes = [_axis(m) for m in marks if m.name == "parametrize"]
    function.pytestmark = [m for m in marks if m.name != "parametrize"]
    names = [name for names, _ in axes for name in names]
    parameters = [values for _, values in axes]
    cases = [
        *((case, "fused", ()) for case in kernels(*parameters)),
        *((case, "xla", [pytest.mark.slow] * slow) for case in plain(*parameters)),
    ]
    combined = []
    for case, implementation, marks in cases:
        values = [v for parameter in case for v in parameter.values]
        combined.append(
            pytest.param(
                *values,
                implementation,
                id="-".join(map(_name, [*values, implementation])),
                marks=[*marks, *(m for parameter in case for m in parameter.marks)],
            )
        )
    return pytest.mark.parametrize((*names, "implementation"), combined)(function)
