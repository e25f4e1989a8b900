"""The root folder of the project; relative paths in ``conf/`` start there."""

from __future__ import annotations

from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
CONF = ROOT / "conf"
SMOLLM2 = "models/smollm2_135m"  # written by make model
