"""What trees of turns save: calls, steps of the environment, tokens and time, against independent talks."""
