"""Makes the modules beside the tests importable, and sets how many random trees a run grows.

``HYPOTHESIS_PROFILE=nightly`` grows tens of thousands; the default profile hundreds.
"""

import os
import sys
from pathlib import Path

from hypothesis import settings

sys.path.insert(0, str(Path(__file__).parent))

settings.register_profile("default", max_examples=200, deadline=None)
settings.register_profile("nightly", max_examples=20_000, deadline=None)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "default"))
