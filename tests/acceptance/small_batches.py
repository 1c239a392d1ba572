"""The loader with batches of a few hundred readings, so that a run of a second has many commits:

python -m tests.acceptance.small_batches run ...
"""

from __future__ import annotations

from loader import batches
from loader.__main__ import main

if __name__ == "__main__":
    batches.MAX_READINGS = 400
    main()
