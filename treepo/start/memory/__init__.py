"""The memory that a training, or an evaluation, expects of one accelerator."""
