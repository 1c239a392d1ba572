"""What holds for all tests: a random one prints what repeats it, and a busy machine fails none."""

from __future__ import annotations

from hypothesis import settings

# How long one example takes says more about the machine than about the code.
settings.register_profile("house", deadline=None, print_blob=True)
settings.load_profile("house")
