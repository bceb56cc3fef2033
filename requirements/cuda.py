"""Whether the torch that is installed asks for libraries of CUDA: exit status 0 if it does, 1 if not."""

from __future__ import annotations

import sys
from importlib.metadata import requires

asked = [
    one for one in requires("torch") or [] if one.startswith(("nvidia-", "cuda-", "triton")) and "extra ==" not in one
]
sys.exit(0 if asked and sys.platform == "linux" else 1)
