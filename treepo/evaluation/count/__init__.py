"""What is computed from a stored run: metrics, intervals, log-probabilities, comparisons."""
