"""Whole runs under random faults; see README.md."""
