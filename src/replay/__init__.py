"""``python -m src.replay run=FOLDER step=N``: the update of a recorded step again, and another objective's.

A :class:`~src.replay.replay.Replay` gives the trainer of trainer.py the trajectories of rollouts.py, compares
what it computes with what the run has recorded (weights.py), and lets comparison.py compute another
objective at the same weights. folder.py writes what was found.
"""
