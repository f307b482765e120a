"""Our verdicts beside those of lighteval, on the same samples."""
