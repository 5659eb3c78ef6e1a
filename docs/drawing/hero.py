"""What the library does, in one wide picture for the start page."""

import numpy as np
from drawing import degradations, speed
from drawing.canvas import LINE, MARGIN, OTHERS, OURS, SSIM, Canvas, Picture, bare

from benchmarks.peers import OURS as OUR_NAME
from jax_fused_ssim import fused_ssim

SIZE = (5, 5, 1080, 1920)
TEXT = """\
A photograph, and the same after JPEG of quality {quality}: SSIM {ssim:.3f}, and the
map whose mean that is. Beside them the time for the value and the gradient of SSIM,
images of {size} in float32 on an {device}: {listed}.
"""


def draw() -> Picture:
    image = degradations.photograph()
    other = degradations.jpeg(image, degradations.QUALITY)
    ssim_map = fused_ssim(other, image, data_format="NHWC", reduction="none")
    ssim = float(fused_ssim(other, image, data_format="NHWC"))
    columns = {
        ("photograph", ""): (image, {}),
        (f"JPEG, quality {degradations.QUALITY}", f"SSIM {ssim:.3f}"): (other, {}),
        ("SSIM map", ""): (np.asarray(ssim_map).mean(axis=-1), SSIM),
    }

    side, head = 2 * len(image), 2 * LINE + 10
    canvas = Canvas(MARGIN + 3 * (side + MARGIN) + 880, head + side + 2 * MARGIN)
    left, top = MARGIN, MARGIN + head
    for (title, line), (pixels, options) in columns.items():
        canvas.text(left, MARGIN, title, line)
        shown = canvas.image(left, top, pixels, 2, **options)
        left += side + MARGIN
    canvas.colour_bar(shown, left - MARGIN // 2, top, side, "")

    data = speed.read("h100")
    found = speed.times(data, "value_and_grad", SIZE)
    left += 310
    size = "x".join(map(str, SIZE))
    canvas.text(left - 190, MARGIN, "SSIM and its gradient", f"{size} on an H100, ms")
    axes = canvas.axes(left, top, canvas.width - left - 170, side)
    names = list(found)
    milliseconds = [1e3 * seconds for seconds in found.values()]
    colours = [OURS if name == OUR_NAME else OTHERS for name in names]
    bars = axes.barh(names, milliseconds, color=colours)
    ours = found[OUR_NAME]
    labels = [f"{1e3 * s:.3g} ({speed.ratio(s, ours)})" for s in found.values()]
    labels[names.index(OUR_NAME)] = f"{1e3 * ours:.3g}"
    axes.bar_label(bars, labels, padding=4)
    axes.invert_yaxis()
    bare(axes)
    axes.get_yticklabels()[names.index(OUR_NAME)].set_weight("bold")

    listed = ", ".join(f"{n} {speed.milliseconds(s)}" for n, s in found.items())
    return Picture(
        canvas.figure,
        "A photograph, its map of SSIM, and the time that it takes",
        f"A photograph, the same as JPEG with SSIM {ssim:.3f}, its map of SSIM, and "
        f"bars of the time for SSIM and its gradient: {listed}.",
        TEXT.format(
            quality=degradations.QUALITY,
            ssim=ssim,
            size=size,
            device=data["machine"]["device"],
            listed=listed,
        ),
    )
