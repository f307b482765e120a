"""Gradients of every credit on a language model's own samples: `python -m benchmarks.gradient.model`."""
