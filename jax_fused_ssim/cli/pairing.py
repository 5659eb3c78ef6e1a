"""Which files are compared with which."""

import re
from pathlib import Path
from typing import NamedTuple

from jax_fused_ssim.cli.errors import UsageError
from jax_fused_ssim.cli.reading import EXTENSIONS


class Pair(NamedTuple):
    """Two files to compare, and what the pair is called."""

    name: str
    a: Path
    b: Path


class Pairs(NamedTuple):
    """What two paths give.

    Attributes:
      pairs: sorted by name, numbers in it by their value.
      unpaired: files without a partner.
      ambiguous: files of a folder that share their name, so that none is compared.
      folders: whether the paths are folders.
    """

    pairs: list[Pair]
    unpaired: list[Path]
    ambiguous: list[Path]
    folders: bool


def paired(a: Path, b: Path) -> Pairs:
    """The pairs of two files, or of two folders by name without extension.

    Raises:
      UsageError: a path that does not exist; a file and a folder; folders that have no
        name in common.
    """
    for path in (a, b):
        if not path.exists():
            raise UsageError(f"{path} does not exist")
    if a.is_dir() != b.is_dir():
        folder, file = (a, b) if a.is_dir() else (b, a)
        raise UsageError(f"{folder} is a folder and {file} is a file")
    if not a.is_dir():
        return Pairs([Pair(a.stem, a, b)], [], [], False)
    of_a, of_b = _images(a), _images(b)
    pairs, unpaired, ambiguous = [], [], []
    for name in sorted(of_a.keys() | of_b.keys(), key=_by_numbers):
        here, there = of_a.get(name, []), of_b.get(name, [])
        if len(here) > 1 or len(there) > 1:
            ambiguous += [*here, *there]
        elif here and there:
            pairs.append(Pair(name, *here, *there))
        else:
            unpaired += [*here, *there]
    if not pairs and not ambiguous:
        raise UsageError(
            f"{a} and {b} have no image in common, by name without extension "
            f"({len(of_a)} and {len(of_b)} images)"
        )
    return Pairs(pairs, unpaired, ambiguous, True)


def _images(folder: Path) -> dict[str, list[Path]]:
    """The images of a folder and those inside it, by name without extension."""
    found: dict[str, list[Path]] = {}
    for path in sorted(folder.rglob("*")):
        inside = path.relative_to(folder)
        hidden = any(part.startswith(".") for part in inside.parts)
        if path.suffix.lower() in EXTENSIONS and not hidden and path.is_file():
            found.setdefault(inside.with_suffix("").as_posix(), []).append(path)
    return found


def _by_numbers(name: str) -> list[tuple[int, str]]:
    """Sorts frame_9 before frame_10."""
    parts = re.findall(r"\d+|\D+", name)
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in parts]
