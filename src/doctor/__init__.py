"""``python -m src.doctor [overrides]``: is everything fit for this run? Before a long one.

A check is a function of a :class:`Patient`, in checks_*.py; ``python -m src.doctor --list`` names all.
"""
