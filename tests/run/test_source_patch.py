"""The patch of a source tree: with it, git apply makes of a clean clone what the run was started from."""

from __future__ import annotations

import hashlib
import os
import subprocess
from pathlib import Path

import pytest

from src.run.source_patch import LARGEST, difference


def git(folder: Path, *arguments: str) -> str:
    who = ("-c", "user.name=a", "-c", "user.email=a@b.c", "-c", "commit.gpgsign=false")
    done = subprocess.run(["git", *who, *arguments], cwd=folder, capture_output=True, text=True, check=True)
    return done.stdout


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    tree = tmp_path / "tree"
    (tree / "src").mkdir(parents=True)
    git(tree, "init", "-q")
    for name in ("changed.py", "deleted.py", "src/kept.py", "staged.py"):
        (tree / name).write_text(f"{name}\n")
    (tree / "known.bin").write_bytes(bytes(range(256)))
    (tree / ".gitignore").write_text("runs/\n")
    git(tree, "add", "-A")
    git(tree, "commit", "-qm", "first")
    return tree


def files(tree: Path) -> dict[str, tuple[bool, bytes]]:
    """Content of what git does not ignore, and whether it can be executed."""
    names = git(tree, "ls-files", "-z", "--cached", "--others", "--exclude-standard").split("\0")
    return {
        name: (os.access(tree / name, os.X_OK), (tree / name).read_bytes())
        for name in names
        if name and (tree / name).is_file()
    }


def test_git_apply_restores_all_but_what_the_patch_names(tree: Path, tmp_path: Path) -> None:
    (tree / "changed.py").write_text("changed.py\nmore\n")
    (tree / "deleted.py").unlink()
    (tree / "staged.py").write_text("staged\n")
    git(tree, "add", "staged.py")
    (tree / "src" / "new term.py").write_text("unknown = 1\n")
    (tree / "src" / "größe.py").write_text("no newline at its end")
    (tree / "src" / "empty.py").touch()
    (tree / "run.sh").write_text("#!/bin/sh\n")
    (tree / "run.sh").chmod(0o755)
    (tree / "link").symlink_to("changed.py")
    (tree / "runs").mkdir()
    (tree / "runs" / "ignored.txt").write_text("ignored\n")
    left_out = {
        "large.jsonl": b"x\n" * LARGEST,
        "weights.bin": b"\0\1\2" * 99,
        "known.bin": bytes(reversed(range(256))),
    }
    for name, content in left_out.items():
        (tree / name).write_bytes(content)
    status = git(tree, "status", "--porcelain")
    index = (tree / ".git" / "index").read_bytes()

    patch = difference(tree / "src")  # as of a program that lies in a folder of the repository

    assert (tree / ".git" / "index").read_bytes() == index
    assert git(tree, "status", "--porcelain") == status
    lines = [one for one in patch.decode().splitlines() if one.startswith("# ")]
    assert lines == [
        f"# not in this patch: {name!r}, {why}, {len(left_out[name])} bytes, sha256 "
        f"{hashlib.sha256(left_out[name]).hexdigest()}"
        for name, why in (("known.bin", "binary"), ("large.jsonl", "large"), ("weights.bin", "binary"))
    ]
    assert len(patch) < 5000
    clone = tmp_path / "clone"
    git(tmp_path, "clone", "-q", str(tree), str(clone))
    (tmp_path / "difference.patch").write_bytes(patch)
    git(clone, "apply", str(tmp_path / "difference.patch"))
    wanted = {name: one for name, one in files(tree).items() if name not in left_out}
    assert {name: one for name, one in files(clone).items() if name not in left_out} == wanted
    assert {"src/new term.py", "src/größe.py", "src/empty.py", "run.sh"} <= wanted.keys()
    assert os.readlink(clone / "link") == "changed.py"


def test_users_settings_of_git_do_not_spoil_it(
    tree: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tree / "changed.py").write_text("other\n")
    (tree / "new.py").write_text("new\n")
    for name, value in (
        *(("color.ui", "always"), ("diff.noprefix", "true"), ("diff.external", "/bin/false")),
        ("diff.context", "0"),
    ):
        git(tree, "config", name, value)
    (tmp_path / "difference.patch").write_bytes(difference(tree))
    git(tmp_path, "clone", "-q", str(tree), "clone")
    git(tmp_path / "clone", "apply", str(tmp_path / "difference.patch"))
    assert files(tmp_path / "clone") == files(tree)


def test_a_clean_tree_and_no_repository_have_none(tree: Path, tmp_path: Path) -> None:
    assert difference(tree) == b""
    (tmp_path / "bare").mkdir()
    assert difference(tmp_path / "bare") == b""


def test_a_repository_inside_is_named(tree: Path) -> None:
    (tree / "inner").mkdir()
    git(tree / "inner", "init", "-q")
    (tree / "inner" / "a.py").write_text("a\n")
    assert difference(tree) == b"# not in this patch: 'inner/', a separate repository\n"
