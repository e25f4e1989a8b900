"""Accuracy of a policy on held-out problems.

evaluator.py samples and grades problems in one mode; results.py aggregates records, with intervals;
benchmark_run.py implements ``python -m src.evaluate``.
"""
