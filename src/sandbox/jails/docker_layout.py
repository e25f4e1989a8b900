"""Prepares the image of sandbox=docker; a script of its own, run by src/sandbox/Dockerfile within the build.

Where the base image has no numpy and sympy, it installs the versions that the list of pins given as argument
names. Then it puts /sandbox/python3 (a link to the interpreter), /packages/NAME (links to the packages, since
workers start without site-packages) and /sandbox/layout.json, which tells jails/docker.py what is there.
"""

from __future__ import annotations

import compileall
import glob
import importlib.util
import json
import os
import re
import subprocess
import sys
import sysconfig

REQUIRED = ("numpy", "sympy", "mpmath")
OPTIONAL = ("scipy", "gmpy2", "tzdata")
TIME_ZONES = "/usr/share/zoneinfo"  # of the system, for zoneinfo


def missing() -> list[str]:
    """Required packages that cannot be imported."""
    found = []
    for name in REQUIRED:
        try:
            importlib.import_module(name)
        except ImportError:
            found.append(name)
    return found


def install(pins: str) -> None:
    """Install what ``pins``, a requirements file, says of the packages."""
    with open(pins) as file:
        chosen = re.findall(rf"^(?:{'|'.join(REQUIRED + OPTIONAL)})==\S+", file.read(), re.MULTILINE)
    print("installing", *chosen, flush=True)
    options = ["--no-cache-dir", "--disable-pip-version-check", "--root-user-action=ignore"]
    subprocess.run([sys.executable, "-m", "pip", "install", *options, *chosen], check=False)


def lay_out() -> dict[str, object]:
    """Make the links; what workers may read."""
    stdlib = os.path.realpath(sysconfig.get_path("stdlib"))
    libraries = [
        f"/usr/lib/{sysconfig.get_config_var('MULTIARCH')}",
        "/usr/lib64",
        "/etc/ld.so.cache",
        TIME_ZONES,
    ]
    libraries += glob.glob(os.path.join(sys.base_prefix, "lib", "*.so*"))
    readable = [os.path.realpath(path) for path in libraries if os.path.exists(path)]
    readable += [os.path.join(stdlib, name) for name in os.listdir(stdlib) if not name.endswith("-packages")]
    packages = {}
    os.makedirs("/packages")
    for name in REQUIRED + OPTIONAL:
        spec = importlib.util.find_spec(name)
        if spec is None or not spec.submodule_search_locations:
            continue
        folder = os.path.realpath(next(iter(spec.submodule_search_locations)))
        for path in (folder, f"{folder}.libs"):
            if os.path.isdir(path):
                os.symlink(path, os.path.join("/packages", os.path.basename(path)))
                readable.append(path)
        packages[name] = f"/packages/{name}"
        compileall.compile_dir(
            folder, quiet=2
        )  # without it a worker, which writes no bytecode, starts slowly
    compileall.compile_dir(stdlib, quiet=2, rx=re.compile("-packages/|/test/"))
    return {"packages": packages, "readable": sorted(readable), "listable": [stdlib]}


def main() -> None:
    """Prepare the image, or say why that cannot be done."""
    if sys.version_info < (3, 11):  # noqa: UP036 - whatever the base image has
        sys.exit(f"error: the base image has Python {sys.version.split()[0]}; it takes 3.11 or later")
    if missing() and sys.argv[1:]:
        install(sys.argv[1])
        os.execv(
            sys.executable, [sys.executable, "-B", __file__]
        )  # afresh: this one remembers what was not there
    if absent := missing():
        sys.exit(
            f"error: the base image lacks {', '.join(absent)}, and pip could not install them (see above). "
            "Let the build use the network, or take a base image that has them (on Debian: python3-numpy, "
            "python3-sympy)"
        )
    layout = lay_out()
    os.makedirs("/sandbox")
    os.symlink(os.path.realpath(sys.executable), "/sandbox/python3")
    with open("/sandbox/layout.json", "w") as file:
        json.dump(layout, file, indent=1)
    versions = (f"{name} {importlib.import_module(name).__version__}" for name in REQUIRED)
    print("Python", sys.version.split()[0], *versions)


if __name__ == "__main__":
    main()
