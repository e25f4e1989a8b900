"""Multi-turn rollouts: one scheduler for training and evaluation and for every engine."""
