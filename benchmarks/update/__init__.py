"""Time and memory of log-probs and updates, verl's own engine and the packed one side by side."""
