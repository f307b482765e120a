"""How fast trees grow: independent samples, lockstep, portable and in-engine trees on one engine in one run."""
