"""Stands for a training, an evaluation or an analysis: ``SECONDS [fail] hydra.run.dir=FOLDER``."""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path

seconds, *rest = sys.argv[1:]
folder = Path(json.loads(next(one for one in rest if one.startswith("hydra.run.dir=")).partition("=")[2]))
(folder / "threads").write_text(os.environ["OMP_NUM_THREADS"])
print("at work")
time.sleep(float(seconds))
if "fail" in rest:
    sys.exit("cannot be done")
if "silent" not in rest:
    (folder / "summary.json").write_text(json.dumps({"wall_seconds": 1.0, "settings": {"commit": "abc"}}))
