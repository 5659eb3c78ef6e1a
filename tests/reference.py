"""SSIM, errors and their gradients from the published formulas, in extended precision.

Nothing here is shared with the package: the textbook form of Wang et al. 2004 with
E[x^2] - mu^2, where the package works with the sum and difference of the images. The
precision (NumPy's longdouble) leaves no doubt about the last digits of float64; that of
images of float32 and less is float64, which is many times faster.

All functions take [..., H, W] arrays (`planes` makes them of channels-last ones) and
return those of this precision. `Similarity` takes volumes too, [..., D, H, W].
"""

import numpy as np

RADIUS = 5
REAL = np.longdouble


def precision(*images):
    """The dtype in which the results for these images are computed."""
    return np.float64 if all(a.dtype.itemsize <= 4 for a in images) else REAL


# Size and sigma of a window; sigma None is uniform.
WINDOW = (2 * RADIUS + 1, 1.5)
# The exponents of Wang et al. 2003, from the finest scale on.
SCALES = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)


def window(size=WINDOW[0], sigma=WINDOW[1]):
    offsets = np.arange(size) - REAL(size - 1) / 2
    weights = np.ones(size, REAL)
    if sigma is not None:
        weights = np.exp(-(offsets**2) / (2 * REAL(sigma) ** 2))
    return weights / weights.sum()


def relative(found, exact, half_ulp=0.0):
    """The relative error (L2) before the rounding of the result."""
    error = np.abs(np.asarray(found).astype(exact.dtype) - exact)
    error = np.maximum(error - half_ulp * np.abs(exact), 0)
    return float(np.linalg.norm(error) / np.linalg.norm(exact))


def planes(a, channels_last, axes=2):
    """The array with channels as a leading dimension, before the spatial axes."""
    return np.moveaxis(a, -1, -1 - axes) if channels_last else a


def unplanes(a, channels_last, axes=2):
    return np.moveaxis(a, -1 - axes, -1) if channels_last else a


def _reach(padding, of):
    """How far the windows of a map see beyond an image, along each axis."""
    size, _ = of
    return [((size - 1) // 2 * p, size // 2 * p) for p in padding]


def _pad(a, margins):
    return np.pad(a, [(0, 0)] * (a.ndim - len(margins)) + [*margins])


def _windowed_mean(a, of, axes=2):
    """Mean under a window wherever it lies inside the array, along the last axes."""
    taps = window(*of).astype(a.dtype)
    last = len(taps) - 1
    for axis in range(-axes, 0):
        size = a.shape[axis] - last
        others = [slice(None)] * (-1 - axis)
        seen = [a[(..., slice(k, k + size), *others)] for k in range(len(taps))]
        total = np.zeros_like(seen[0])
        for k in range(len(taps) // 2):  # the other half has the same weights
            total += taps[k] * (seen[k] + seen[last - k])
        if len(taps) % 2:
            total += taps[last // 2] * seen[last // 2]
        a = total
    return a


def mean_scales(seen, padding=(True, True), of=WINDOW, dtype=REAL):
    """1 / the share of every window that sees, and 1 where nothing does."""
    seen = _pad(np.asarray(seen, dtype), _reach(padding, of))
    share = _windowed_mean(seen, of, len(padding))
    return 1 / np.where(share == 0, 1, share)


class Similarity:
    """SSIM of two images: its map, and its gradients for any number of cotangents.

    With `seen`, booleans of all pixels, the statistics are of the pixels seen: windows
    lack the others, and the border. `of`: size and sigma of the window. `sample`:
    variances and covariance are those of a sample. `padding`: of every spatial axis,
    three of volumes.
    """

    def __init__(
        self,
        x,
        y,
        padding=(True, True),
        data_range=1.0,
        k1=0.01,
        k2=0.03,
        seen=None,
        of=WINDOW,
        sample=False,
    ):
        real = precision(x, y)
        self.images = x, y = np.asarray(x, real), np.asarray(y, real)
        self.padding, self.of = padding, of
        self.seen, self.scales = 1, 1
        if seen is not None:
            self.seen, self.scales = seen, mean_scales(seen, padding, of, real)
        x, y = (_pad(self.seen * a, _reach(padding, of)) for a in (x, y))

        axes = len(padding)

        def mean(a):
            return self.scales * _windowed_mean(a, of, axes)

        count = real(of[0] ** axes)
        self.correction = correction = count / (count - 1) if sample else 1
        mu1, mu2 = self.means = mean(x), mean(y)
        s11 = correction * (mean(x * x) - mu1**2)
        s22 = correction * (mean(y * y) - mu2**2)
        s12 = correction * (mean(x * y) - mu1 * mu2)
        c1, c2 = (real(k) * real(data_range) for k in (k1, k2))
        c1, c2 = c1 * c1, c2 * c2
        self.a1, self.a2 = 2 * mu1 * mu2 + c1, 2 * s12 + c2
        self.b1, self.b2 = mu1**2 + mu2**2 + c1, s11 + s22 + c2
        self.map = self.a1 * self.a2 / (self.b1 * self.b2)

    def gradients(self, cotangent):
        """Of sum(cotangent * SSIM), in x and in y. SSIM is symmetric: so are they."""
        cotangent = np.asarray(cotangent, self.map.dtype)
        a1, a2, b1, b2 = self.a1, self.a2, self.b1, self.b2
        # In either variance, and in the covariance.
        in_variance, in_s12 = (
            self.correction * a for a in (-self.map / b2, 2 * a1 / (b1 * b2))
        )

        def spread(a):
            last = self.of[0] - 1
            reach = _reach(self.padding, self.of)
            margins = [(last - before, last - after) for before, after in reach]
            a = _pad(cotangent * self.scales * a, margins)
            return _windowed_mean(a, self.of, len(self.padding))

        spread_variance, spread_s12 = spread(in_variance), spread(in_s12)

        def of(image, other, mu, mu_other):
            in_mu = 2 * mu_other * a2 / (b1 * b2) - 2 * mu * self.map / b1
            # The variance and the covariance contain it too.
            in_mu = in_mu - 2 * mu * in_variance - mu_other * in_s12
            everything = 2 * image * spread_variance + other * spread_s12
            return self.seen * (spread(in_mu) + everything)

        (x, y), (mu1, mu2) = self.images, self.means
        return [of(x, y, mu1, mu2), of(y, x, mu2, mu1)]


def ssim_map(x, y, *args, **options):
    return Similarity(x, y, *args, **options).map


def gradient(x, y, cotangent, *args, **options):
    """Of sum(cotangent * SSIM), in x."""
    return Similarity(x, y, *args, **options).gradients(cotangent)[0]


def _where_counted(a, crop, of=WINDOW):
    """Without the border that a window takes off where `crop` says so."""
    sides = zip(a.shape[-2:], _reach(crop, of), strict=True)
    rows, columns = (slice(first, size - last) for size, (first, last) in sides)
    return a[..., rows, columns]


def errors(x, y, crop=(False, False), data_range=1.0, of=WINDOW):
    """|d| and d^2 of all pixels that count, d = (x - y) / data_range."""
    real = precision(x, y)
    x, y = (_where_counted(np.asarray(a, real), crop, of) for a in (x, y))
    d = (x - y) / real(data_range)
    return np.abs(d), d * d


def error_gradient(x, y, l1, l2, crop=(False, False), data_range=1.0, of=WINDOW):
    """Gradient of l1 sum |d| + l2 sum d^2 in x, where |d| has the derivative 0 at 0.
    Swap for that in y."""
    real = precision(x, y)
    x, y = np.asarray(x, real), np.asarray(y, real)
    counted = np.zeros(x.shape, bool)
    _where_counted(counted, crop, of)[...] = True
    difference = np.where(counted, x - y, 0)
    of_l1 = np.sign(difference) / real(data_range)
    of_l2 = 2 * difference / real(data_range) ** 2
    return real(l1) * of_l1 + real(l2) * of_l2


def _halved(a, odd_sides):
    for axis in (-2, -1):
        if a.shape[axis] % 2:
            a = np.moveaxis(a, axis, 0)
            if odd_sides == "drop":
                a = a[:-1]
            elif odd_sides == "zero":
                a = np.concatenate([0 * a[:1], a])
            else:
                a = np.concatenate([a, a[-1:]])
            a = np.moveaxis(a, 0, axis)
        a = (np.take(a, range(0, a.shape[axis], 2), axis)
             + np.take(a, range(1, a.shape[axis], 2), axis)) / 2  # fmt: skip
    return a


def with_border(a, mode):
    """[..., H, W] with as much of a border, of a mode of `numpy.pad`, as the default
    window reaches beyond."""
    return np.pad(a, [*[(0, 0)] * (a.ndim - 2), *[(RADIUS, RADIUS)] * 2], mode)


def ms_ssim(
    x, y, weights=SCALES, odd_sides="symmetric", channel_mean="last", padding="valid"
):
    """MS-SSIM of every image of [..., C, H, W]."""
    x, y = (np.asarray(a, REAL) for a in (x, y))
    factors = []
    for i in range(len(weights)):
        pair = x, y
        if padding not in ("same", "valid"):
            pair = [with_border(a, padding) for a in pair]
        scale = Similarity(*pair, (padding == "same",) * 2)
        last = i == len(weights) - 1
        values = scale.map if last else scale.a2 / scale.b2
        factors.append(np.maximum(values.mean((-2, -1)), 0))
        x, y = _halved(x, odd_sides), _halved(y, odd_sides)
    if channel_mean == "first":
        factors = [f.mean(-1, keepdims=True) for f in factors]
    of_planes = np.prod([f**w for f, w in zip(factors, weights, strict=True)], axis=0)
    return of_planes.mean(-1)
