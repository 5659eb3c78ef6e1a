"""SSIM, errors and their gradients from the published formulas, in extended precision.

Nothing here is shared with the package: the textbook form of Wang et al. 2004 with
E[x^2] - mu^2, where the package works with the sum and difference of the images. The
precision (NumPy's longdouble) leaves no doubt about the last digits of float64.

All functions take [..., H, W] arrays (`planes` makes them of channels-last ones) and
return longdouble ones.
"""

import numpy as np

RADIUS = 5
REAL = np.longdouble


def window():
    offsets = np.arange(-RADIUS, RADIUS + 1).astype(REAL)
    weights = np.exp(-(offsets**2) / (2 * REAL(1.5) ** 2))
    return weights / weights.sum()


def planes(a, channels_last):
    """The array with channels as a leading dimension."""
    return np.moveaxis(a, -1, -3) if channels_last else a


def unplanes(a, channels_last):
    return np.moveaxis(a, -3, -1) if channels_last else a


def _pad(a, amounts):
    return np.pad(a, [(0, 0)] * (a.ndim - 2) + [(n, n) for n in amounts])


def _windowed_mean(a):
    """Mean under the window wherever it lies inside the array."""
    for axis in (-2, -1):
        size = a.shape[axis] - 2 * RADIUS
        a = sum(
            w * np.take(a, range(k, k + size), axis=axis)
            for k, w in enumerate(window())
        )
    return a


def _statistics(x, y, padding, data_range, k1, k2):
    x, y = (_pad(np.asarray(a, REAL), [RADIUS * p for p in padding]) for a in (x, y))
    mu1, mu2 = _windowed_mean(x), _windowed_mean(y)
    s11 = _windowed_mean(x * x) - mu1**2
    s22 = _windowed_mean(y * y) - mu2**2
    s12 = _windowed_mean(x * y) - mu1 * mu2
    c1, c2 = (REAL(k) * REAL(data_range) for k in (k1, k2))
    c1, c2 = c1 * c1, c2 * c2
    a1, a2 = 2 * mu1 * mu2 + c1, 2 * s12 + c2
    b1, b2 = mu1**2 + mu2**2 + c1, s11 + s22 + c2
    return mu1, mu2, a1, a2, b1, b2


def ssim_map(x, y, padding=(True, True), data_range=1.0, k1=0.01, k2=0.03):
    _, _, a1, a2, b1, b2 = _statistics(x, y, padding, data_range, k1, k2)
    return a1 * a2 / (b1 * b2)


def gradient(x, y, cotangent, padding=(True, True), data_range=1.0, k1=0.01, k2=0.03):
    """Gradient of sum(cotangent * SSIM) in x. SSIM is symmetric: swap for that in y."""
    mu1, mu2, a1, a2, b1, b2 = _statistics(x, y, padding, data_range, k1, k2)
    value = a1 * a2 / (b1 * b2)
    in_s11 = -value / b2
    in_s12 = 2 * a1 / (b1 * b2)
    # s11 and s12 contain mu1 too.
    in_mu1 = 2 * mu2 * a2 / (b1 * b2) - 2 * mu1 * value / b1
    in_mu1 = in_mu1 - 2 * mu1 * in_s11 - mu2 * in_s12

    def spread(a):
        amounts = [2 * RADIUS - RADIUS * p for p in padding]
        return _windowed_mean(_pad(cotangent * a, amounts))

    x, y = np.asarray(x, REAL), np.asarray(y, REAL)
    return spread(in_mu1) + 2 * x * spread(in_s11) + y * spread(in_s12)


def _where_counted(a, crop):
    """Without the border that the window's radius takes off where `crop` says so."""
    rows, columns = (slice(RADIUS, -RADIUS) if c else slice(None) for c in crop)
    return a[..., rows, columns]


def errors(x, y, crop=(False, False), data_range=1.0):
    """|d| and d^2 of all pixels that count, d = (x - y) / data_range."""
    x, y = (_where_counted(np.asarray(a, REAL), crop) for a in (x, y))
    d = (x - y) / REAL(data_range)
    return np.abs(d), d * d


def error_gradient(x, y, l1, l2, crop=(False, False), data_range=1.0):
    """Gradient of l1 sum |d| + l2 sum d^2 in x, where |d| has the derivative 0 at 0.
    Swap for that in y."""
    x, y = np.asarray(x, REAL), np.asarray(y, REAL)
    counted = np.zeros(x.shape, bool)
    _where_counted(counted, crop)[...] = True
    difference = np.where(counted, x - y, 0)
    of_l1 = np.sign(difference) / REAL(data_range)
    of_l2 = 2 * difference / REAL(data_range) ** 2
    return REAL(l1) * of_l1 + REAL(l2) * of_l2
