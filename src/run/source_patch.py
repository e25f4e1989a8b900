"""The uncommitted changes of a source tree as a patch for git apply, untracked files included.

Ignored files are left out. So are binary files and large untracked files: the patch starts with their names,
sizes and digests, in lines that git apply skips. The repository's index is not modified.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import tempfile
from collections.abc import Mapping
from pathlib import Path

LARGEST = 1 << 20  # bytes of an untracked file in the patch
_MOST = 1 << 30  # bytes of a file whose digest is computed
# Independent of the user's settings.
_PLAIN = ("--no-color", "--no-ext-diff", "--no-textconv", "-U3", "--src-prefix=a/", "--dst-prefix=b/")


def git(
    root: Path, *arguments: str, environment: Mapping[str, str] | None = None, given: bytes = b""
) -> bytes | None:
    """Return the output of git in ``root``, with ``given`` as standard input; None if it fails."""
    try:
        done = subprocess.run(
            ["git", *arguments],
            cwd=root,
            env={**os.environ, **(environment or {})},
            input=given,
            capture_output=True,
            check=True,
        )
    except (OSError, subprocess.CalledProcessError):
        return None
    return done.stdout


def difference(root: Path) -> bytes:
    """Return the patch of the repository that contains ``root``; empty outside git and without changes."""
    top = git(root, "rev-parse", "--show-toplevel")
    if top is None:
        return b""
    folder = Path(os.fsdecode(top.removesuffix(b"\n")))
    index = git(folder, "rev-parse", "--git-path", "index")
    unknown = git(folder, "ls-files", "--others", "--exclude-standard", "-z")
    if index is None or unknown is None:
        return b""
    names = _split(unknown)
    left_out = {name: why for name in names if (why := _unfit(folder / name))}
    with tempfile.TemporaryDirectory() as temporary:
        copy = Path(temporary) / "index"
        source = folder / os.fsdecode(index.removesuffix(b"\n"))
        if source.is_file():
            shutil.copy(source, copy)
        own = {"GIT_INDEX_FILE": str(copy)}
        added = os.fsencode("\0".join(name for name in names if name not in left_out))
        intent = ("add", "--intent-to-add", "--pathspec-from-file=-", "--pathspec-file-nul")
        if added:
            git(folder, "--literal-pathspecs", *intent, environment=own, given=added)
        counts = git(folder, "diff", "HEAD", "--no-renames", "--numstat", "-z", environment=own) or b""
        rows = [row.split("\t", 2) for row in _split(counts)]
        binary = {name: "binary" for added, _, name in rows if added == "-"}
        except_for = [f":(exclude,top,literal){name}" for name in binary]
        patch = git(folder, "diff", "HEAD", *_PLAIN, "--", *except_for, environment=own) or b""
    lines = [_described(folder / name, name, why) for name, why in sorted((left_out | binary).items())]
    return "".join(f"# not in this patch: {line}\n" for line in lines).encode("utf-8", "replace") + patch


def _split(names: bytes) -> list[str]:
    return [os.fsdecode(name) for name in names.split(b"\0") if name]


def _unfit(path: Path) -> str:
    """Return why an untracked file is not in the patch, or an empty string."""
    if path.is_symlink():
        return ""
    if path.is_dir():
        return "a separate repository"
    try:
        return "large" if path.stat().st_size > LARGEST else ""
    except OSError:
        return "deleted"


def _described(path: Path, name: str, why: str) -> str:
    if not path.is_file():
        return f"{name!r}, {why}" + ("" if path.exists() else ", deleted")
    size = path.stat().st_size
    if size > _MOST:
        return f"{name!r}, {why}, {size} bytes"
    with path.open("rb") as file:
        return f"{name!r}, {why}, {size} bytes, sha256 {hashlib.file_digest(file, 'sha256').hexdigest()}"
