"""The pages of the documentation, and the code on them."""

import re
import textwrap
from pathlib import Path

ROOT = Path(__file__).parents[1]
PAGES = sorted(
    path.relative_to(ROOT).as_posix()
    for path in (*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"))
)


def code_of(page):
    """The Python of a page, block by block."""
    text = (ROOT / page).read_text()
    blocks = re.findall(r"^ *```python\n.*?^ *```$", text, re.DOTALL | re.MULTILINE)
    return [textwrap.dedent(b).split("\n", 1)[1].rsplit("```", 1)[0] for b in blocks]


def prose_of(page):
    """A page without its blocks of code."""
    text = (ROOT / page).read_text()
    return re.sub(r"^ *```.*?^ *```$", "", text, flags=re.DOTALL | re.MULTILINE)


def anchors_of(page):
    """Of its headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.*)$", prose_of(page), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", h.lower()).replace(" ", "-") for h in headings}
