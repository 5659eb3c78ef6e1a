"""The command `jax-fused-ssim`, which the library does not import.

It needs what the extra `cli` installs.
"""

import sys
from collections.abc import Sequence

from jax_fused_ssim.cli.errors import WRONG_USE, say


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command.

    Args:
      argv: its arguments; None are those of the process.

    Returns:
      The exit status: 0, 1 where a pair could not be measured, 2 for wrong use.
    """
    try:
        from jax_fused_ssim.cli.command import run

        return run(sys.argv[1:] if argv is None else argv)
    except ModuleNotFoundError as error:
        say(
            f"needs {error.name}, which is not installed: "
            "pip install 'jax_fused_ssim[cli]'"
        )
        return WRONG_USE
