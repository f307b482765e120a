"""What an evaluation generates: benchmarks, prompts, the model, the loop over what a run lacks."""
