"""The supervised warm start that makes the mini base policy, ``python -m src.warm_start``."""
