"""Checks wheels before they are published: python check_wheel.py WHEEL...

Each holds the package and nothing else, has the tags of what this Python builds, needs
no library that is not on every Linux, exports its entry point alone, and is small.
"""

import argparse
import io
import re
import subprocess
import sys
import zipfile
from pathlib import Path, PurePosixPath

from elftools.elf.elffile import ELFFile
from packaging.utils import parse_wheel_filename

PACKAGE = "jax_fused_ssim"
ENTRY_POINT = "PyInit__native"
# Of the extension module; what the CUDA kernels need is inside.
LIBRARIES = re.compile(
    r"(ld-linux-[\w-]+|libc|libdl|libgcc_s|libm|libpthread|librt|libstdc\+\+)\.so\.\d+"
)


def problems_of_tags(wheel: Path) -> list[str]:
    _, _, _, tags = parse_wheel_filename(wheel.name)
    problems = []
    wanted = "cp311-cp311" if sys.version_info < (3, 12) else "cp312-abi3"
    if {f"{tag.interpreter}-{tag.abi}" for tag in tags} != {wanted}:
        problems.append(f"its tag is not {wanted}")
    if not any(tag.platform.startswith(("manylinux_2_", "macosx_")) for tag in tags):
        problems.append("its tag names no platform that a package index takes")
    return problems


def problems_of_files(names: list[str]) -> list[str]:
    """Names of files, as a wheel has them."""
    problems = []
    modules = [name for name in names if PurePosixPath(name).suffix == ".so"]
    if len(modules) != 1:
        problems.append(f"one extension module is wanted, there are {modules}")
    if f"{PACKAGE}/py.typed" not in names:
        problems.append("py.typed is missing")
    for name in names:
        folder, suffix = PurePosixPath(name).parts[0], PurePosixPath(name).suffix
        ours = folder == PACKAGE and (suffix in (".py", ".so") or "py.typed" in name)
        if not (ours or folder.endswith(".dist-info")):
            problems.append(f"{name} is not a part of the package")
    return problems


def problems_of_module(module: bytes) -> list[str]:
    """Of an extension module for Linux."""
    elf = ELFFile(io.BytesIO(module))
    dynamic = elf.get_section_by_name(".dynamic")
    needed = [tag.needed for tag in dynamic.iter_tags("DT_NEEDED")]
    exported = {
        symbol.name
        for symbol in elf.get_section_by_name(".dynsym").iter_symbols()
        if symbol["st_shndx"] != "SHN_UNDEF"
        and symbol["st_info"]["bind"] != "STB_LOCAL"
    }
    problems = [f"it needs {name}" for name in needed if not LIBRARIES.fullmatch(name)]
    if exported != {ENTRY_POINT}:
        problems.append(f"it exports {sorted(exported)}, not {ENTRY_POINT} alone")
    return problems


def problems_of_abi(wheel: Path) -> list[str]:
    if "-abi3-" not in wheel.name:
        return []
    audit = [sys.executable, "-m", "abi3audit", "--strict", str(wheel)]
    done = subprocess.run(audit, capture_output=True, text=True)
    return [] if done.returncode == 0 else [done.stdout + done.stderr]


def check(wheel: Path, megabytes: float) -> list[str]:
    """What is wrong with a wheel, which is to have so many megabytes at most."""
    with zipfile.ZipFile(wheel) as files:
        names = [name for name in files.namelist() if not name.endswith("/")]
        modules = [files.read(name) for name in names if name.endswith(".so")]
    problems = problems_of_tags(wheel) + problems_of_files(names)
    for module in modules:
        if module.startswith(b"\x7fELF"):
            problems += problems_of_module(module)
    size = wheel.stat().st_size / 1e6
    if size > megabytes:
        problems.append(f"it has {size:.1f} MB, {megabytes:g} are allowed")
    return problems + problems_of_abi(wheel)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("wheels", type=Path, nargs="+", metavar="WHEEL")
    parser.add_argument("--megabytes", type=float, default=15, help="at most")
    args = parser.parse_args()
    wrong = 0
    for wheel in args.wheels:
        problems = check(wheel, args.megabytes)
        wrong += bool(problems)
        print(f"{wheel.name}, {wheel.stat().st_size / 1e6:.1f} MB:")
        print("\n".join(f"  {problem}" for problem in problems or ["as it should be"]))
    sys.exit(wrong > 0)


if __name__ == "__main__":
    main()
