"""How much of a gradient every credit makes of the same samples: `python -m benchmarks.gradient`."""
