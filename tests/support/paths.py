"""Where the checkout is, and real data beside it, which tests that need it skip without."""

import os
from pathlib import Path

ROOT = Path(__file__).parents[2]
DATA = Path(os.environ.get("ATTENTION_JAX_DATA", ROOT.parent / "shared" / "data"))
