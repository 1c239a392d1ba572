"""The loader, which is killed when its run has ended and the assessment is to begin:

python -m tests.acceptance.killed_before_assessing run ...
"""

from __future__ import annotations

import os
import signal

from loader import assess
from loader.__main__ import main


def killed(*_: object) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


if __name__ == "__main__":
    assess.afterwards = killed  # type: ignore[assignment]
    main()
