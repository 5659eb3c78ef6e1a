"""`python -m jax_fused_ssim A B`: the command of `jax_fused_ssim.cli`."""

import sys

from jax_fused_ssim.cli import main

sys.exit(main())
