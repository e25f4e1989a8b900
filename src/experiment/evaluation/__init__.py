"""How often a policy is right on held-out problems.

evaluator.py samples and grades problems in one mode; results.py counts the records and gives intervals;
benchmark_run.py is the whole of ``python -m src.evaluate``.
"""
