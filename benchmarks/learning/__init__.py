"""Does it learn? Credit and sampling compared on the quickstart's task: ``python -m benchmarks.learning``."""
