"""The page: its template, style and scripts as one file that refers to nothing outside.

Data is embedded as deflated frames in base64, which contains nothing that could end an element. A policy in
the page lets only its own scripts and style run, by their digests.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterator, Sequence
from pathlib import Path

from analysis.viewer.run_data import RunData

PAGE = Path(__file__).parent / "page"
# In the order in which they are run; later ones use earlier ones.
SCRIPTS = (
    *("frames", "query", "links", "store", "colours", "shown", "highlight", "chart", "order"),
    *("list", "timeline", "tokens", "flow", "trajectory", "problem", "step", "run", "keys", "main"),
)


def policy(scripts: Sequence[str], style: str, *, server: bool) -> str:
    """Return the content security policy of a page with these scripts and this style."""
    allowed = " ".join(f"'sha256-{_digest(one)}'" for one in scripts)
    asked = "'self'" if server else "'none'"
    return (
        f"default-src 'none'; script-src {allowed}; style-src 'sha256-{_digest(style)}'; img-src data:; "
        f"connect-src {asked}; base-uri 'none'; form-action 'none'"
    )


def _digest(text: str) -> str:
    return base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


def parts(*, every: float | None = None) -> tuple[str, str]:
    """Return what precedes and what follows the data in the page.

    Args:
        every: seconds between two looks at the server; None: the data is in the page.
    """
    scripts = [(PAGE / f"{name}.js").read_text(encoding="utf-8") for name in SCRIPTS]
    style = (PAGE / "style.css").read_text(encoding="utf-8")
    text = (PAGE / "index.html").read_text(encoding="utf-8")
    for name, value in {
        "POLICY": policy(scripts, style, server=every is not None),
        "EVERY": "" if every is None else str(every),
        "STYLE": f"<style>{style}</style>",
        "SCRIPTS": "\n".join(f"<script>{one}</script>" for one in scripts),
    }.items():
        assert text.count(f"{{{{{name}}}}}") == 1, name
        text = text.replace(f"{{{{{name}}}}}", value)
    before, after = text.split("{{DATA}}")
    return before, after


def write(file: Path, runs: Sequence[RunData]) -> None:
    """Write the page with everything about ``runs`` to ``file``, atomically."""
    before, after = parts()
    partial = file.with_name(f"{file.name}.partial")
    with partial.open("w", encoding="utf-8", newline="") as page:
        page.write(before)
        for number, run in enumerate(runs):
            for name, data in _frames(run):
                page.write(f'<script type="application/octet-stream" id="run-{number}-{name}">')
                page.write(base64.b64encode(data).decode())
                page.write("</script>\n")
        page.write(after)
    partial.replace(file)


def _frames(run: RunData) -> Iterator[tuple[str, bytes]]:
    yield "index", run.index()
    yield "about", run.about()
    for chunk in range(len(run.starts()) - 1):
        yield f"texts-{chunk}", run.texts(chunk)
        yield f"tokens-{chunk}", run.tokens(chunk)
