"""Shapes of a language model's trees: the preset's own, and those that the issue of where to fork is about."""

from benchmarks.gradient.arms import SHAPES, Shape

INDEPENDENT = "independent"

MODEL_SHAPES = (
    *(shape for shape in SHAPES if shape.name == INDEPENDENT),
    Shape(name="preset", sampling=lambda width: {}),
    *(shape for shape in SHAPES if shape.name != INDEPENDENT),
    Shape(
        name="4 first, ramp, unsure",
        sampling=lambda width: {
            "initial_divergence": [4, 4],
            "divergence": {"budget": "ramp", "allocation": "logprob", "logprob": {"score": "last_segment"}},
        },
    ),
    Shape(
        name="independent, twice as many",
        sampling=lambda width: {
            "width": 2 * width,
            "initial_divergence": [2 * width, 2 * width],
            "max_divergence": 1,
        },
    ),
    Shape(
        name="twice as wide, 4 first, ramp",
        sampling=lambda width: {
            "width": 2 * width,
            "initial_divergence": [4, 4],
            "divergence": {"budget": "ramp"},
        },
    ),
)
"""The width is the preset's; `unsure` forks where the last segment was least probable."""
