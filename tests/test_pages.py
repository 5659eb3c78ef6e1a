"""The pages of the documentation: their code runs, their links lead somewhere, and the
reference has every public name."""

import re

import eight_devices
import pages
import pytest

import jax_fused_ssim
from jax_fused_ssim import conventions, sharded


@pytest.mark.slow
def test_code():
    failures = eight_devices.run("pages_program.py")
    assert not failures, "\n".join(f"{page}: {why}" for page, why in failures.items())


@pytest.mark.parametrize("page", pages.PAGES)
def test_links(page):
    """As GitHub follows them."""
    here = pages.ROOT / page
    for target in re.findall(r"\]\(([^)\s]+)\)", pages.prose_of(page)):
        if re.match(r"\w+:", target):
            continue
        path, _, anchor = target.partition("#")
        there = (here.parent / path).resolve() if path else here
        assert there.exists(), target
        if anchor:
            assert anchor in pages.anchors_of(there.relative_to(pages.ROOT)), target


@pytest.mark.parametrize(
    ("page", "names"),
    [
        ("functions", {*jax_fused_ssim.__all__} - {"conventions", "sharded"}),
        ("conventions", {*conventions.__all__}),
        (
            "sharded",
            {
                name
                for name, value in vars(sharded).items()
                if getattr(value, "__module__", "") == sharded.__name__
                and not name.startswith("_")
            },
        ),
    ],
)
def test_reference(page, names):
    text = (pages.ROOT / "docs" / "api" / f"{page}.md").read_text()
    found = re.findall(r"^\.\. auto(?:function|class|data):: (\w+)$", text, re.M)
    assert sorted(found) == sorted(names)
