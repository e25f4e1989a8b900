"""The supervised warm start, ``python -m src.warm_start``.

From scratch it makes the mini base policy (make.py, policy.py, training.py), from a given model a beginner
(from_model.py, examples.py, loss.py, tuning.py); both learn from the same solutions (corpus.py).
"""
