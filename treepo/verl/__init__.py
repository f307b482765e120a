"""The rooms that hold on to verl: platform, agent loop, estimators, trainer, metrics.

Checked against verl 0.9.1; ``tests/contract/test_verl_seams.py`` fails where a seam moves.
"""
