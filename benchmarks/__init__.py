"""Times fused_ssim and what one would use instead of it: `python -m benchmarks --help`.

Sets up the process before anything imports JAX.
"""

import os
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]

# `python -m` puts the checkout first, whose sources may have no kernels: what is
# installed is what is measured.
if sys.path and Path(sys.path[0]).resolve() == ROOT:
    sys.path.append(sys.path.pop(0))

# JAX and PyTorch share one GPU here; JAX would take three quarters of it at once.
os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")

# Or idle OpenMP threads of one library spin while another one is timed.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
