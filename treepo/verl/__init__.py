"""The rooms that hold on to verl: its rollout, its training, its servers without a trainer, the CPU as its platform.

Checked against verl 0.9.1; ``tests/seams/test_verl_seams.py`` fails where a seam moves.
"""
