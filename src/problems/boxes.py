r"""Extracts the content of ``\boxed`` and ``\fbox`` in the policy's text and in worked solutions."""

from __future__ import annotations

import re

# \boxed or \fbox, possibly with a doubled backslash; another escaped character; a brace.
_TOKEN = re.compile(
    r"(?P<box>\\\\?(?:boxed|fbox)(?![A-Za-z])\s*(?P<open>\{)?)|\\.|(?P<brace>[{}])", re.DOTALL
)
# An answer without braces ends with its formula or line, or before words.
_BARE_TOKEN = re.compile(
    r"(?P<end>\\[)\]]|\\\\|[$&\n]|\.(?=\s)|(?<!\s)\s++(?=[A-Za-z]{2}))|\\.|(?P<brace>[{}])", re.DOTALL
)


def last_box(text: str) -> tuple[bool, str]:
    """Return whether ``text`` has a box, and the answer in the last one, empty if there is none."""
    open_braces: list[
        tuple[int, int | None]
    ] = []  # start of the content, and of the box if the brace belongs to one
    last: re.Match[str] | None = None
    closed = False  # whether the last box is closed
    content = (0, 0)  # of the box closed most recently: the last one, or one around it
    for token in _TOKEN.finditer(text):
        if token["box"]:
            last, closed = token, False
        if token["open"] or token["brace"] == "{":
            open_braces.append((token.end(), token.start() if token["box"] else None))
        elif token["brace"] and open_braces:
            begin, box = open_braces.pop()
            if box is not None:
                content = (begin, token.start())
                closed = closed or (last is not None and box == last.start())
    if last is None:
        return False, ""
    if closed or content[1] > last.start():
        return True, text[slice(*content)].strip()
    return True, "" if last["open"] else _bare_answer(text, last.end())


def _bare_answer(text: str, start: int) -> str:
    """Return the answer in a box without braces whose content starts at ``start``."""
    depth, stop = 0, len(text)
    for token in _BARE_TOKEN.finditer(text, start):
        if token["brace"]:
            depth += 1 if token["brace"] == "{" else -1
        if depth < 0 or (depth == 0 and token["end"]):
            stop = token.start()
            break
    return text[start:stop].strip().rstrip(".,;:") if depth <= 0 else ""
