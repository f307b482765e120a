"""Rewards of responses; :mod:`treepo.rewards.math` is the one that the trainer configuration names."""
