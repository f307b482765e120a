"""verl's servers without a trainer: generation for an evaluation, and the merging of a checkpoint."""
