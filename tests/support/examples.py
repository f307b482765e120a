"""How many random examples a test draws."""

import os

NIGHTLY = os.environ.get("HYPOTHESIS_PROFILE") == "nightly"


def examples(count: int) -> int:
    """This many, and twenty times as many with ``HYPOTHESIS_PROFILE=nightly``, which scripts/test.sh --all sets."""
    return 20 * count if NIGHTLY else count
