"""Tool calls and results between tags, such as ``<code>...</code>`` and ``<interpreter>...</interpreter>``.

A call opens with the tag of its tool anywhere outside other blocks and closes at the next closing tag of the
same tool. There is no nesting and no escaping. A block that is never closed extends to the end.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

from src.formats.base import (
    CALL,
    RESULT,
    Call,
    Format,
    Piece,
    RawCall,
    Span,
    Tool,
    explained,
    parse_body,
    write_body,
)


@dataclass(frozen=True)
class Tags:
    """The tags of one kind of block; ``tool`` is the called tool, None for results or calls of any tool."""

    open: str
    close: str
    kind: str
    tool: str | None = None


class BlockFormat(Format):
    """A format with calls and results between tags; subclasses set the tags with :meth:`_use`."""

    further_tags: Sequence[str] = ()  # further tags that a result must not contain

    def _use(self, blocks: Sequence[Tags]) -> None:
        """Set the kinds of blocks; the last one is the result."""
        self._blocks, self._result = blocks, blocks[-1]
        self.markup = tuple(tag for block in blocks for tag in (block.open, block.close))
        self.result_opening = self._result.open

    def scanner(self) -> TagScanner:
        """See Format."""
        return TagScanner(self._blocks)

    def may_close(self, token: bytes) -> bool:
        """See Format."""
        return any(ends_in(token, block.close.encode()) for block in self._blocks if block.kind == CALL)

    def spans(self, text: str) -> list[Span]:
        """See Format."""
        return tag_spans(text, self._blocks)

    def fabricates(self, text: str) -> bool:
        """See Format."""
        result = self._result
        return result.open in text and any(
            text[span.start + len(result.open) : span.end].removesuffix(result.close).strip()
            for span in self.spans(text)
            if span.kind == RESULT
        )

    def neutralise(self, text: str) -> str:
        """See Format: inserts a space after the first character of each tag."""
        return neutralise_tags(text, [*self.markup, *self.further_tags])


class TagFormat(BlockFormat):
    """See src.formats.base.Format.

    Args:
        call: opening and closing tag of a call; ``{name}`` stands for the tool's name.
        result: opening and closing tag of a result.
        names: for tools whose name in tags differs from their own: the name in tags by tool name.

    Raises:
        ValueError: a tag is too short or contains white space, or is a prefix of another.
    """

    def __init__(
        self,
        call: Sequence[str] = ("<{name}>", "</{name}>"),
        result: Sequence[str] = ("<result>", "</result>"),
        names: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__()
        for key, pair in (("call", call), ("result", result)):
            if isinstance(pair, str) or len(pair) != 2:
                raise ValueError(f"{key}={pair!r}: give two tags, [opening, closing]")
        self._call, self._names = tuple(call), dict(names or {})
        self._added: frozenset[str] = frozenset()  # tokens that the tokenizer knows as a whole
        self._use([Tags(result[0], result[1], RESULT)])

    def prepare(self, tools: Sequence[Tool], tokenizer: Any, style: str) -> Self:
        """See Format."""
        super().prepare(tools, tokenizer, style)
        self._use([self._tags(tool.name) for tool in tools] + [self._result])
        self._added = frozenset(tokenizer.get_added_vocab())
        return self

    def _tags(self, tool: str) -> Tags:
        first, last = (tag.replace("{name}", self._names.get(tool, tool)) for tag in self._call)
        return Tags(first, last, CALL, tool)

    def _use(self, blocks: Sequence[Tags]) -> None:
        super()._use(blocks)
        tags = self.markup
        for tag in tags:
            if len(tag) < 2 or re.search(r"\s", tag):
                raise ValueError(f"the tag {tag!r}: it needs at least two characters and no white space")
            clash = [other for other in tags if other != tag and other.startswith(tag)]
            if clash or tags.count(tag) > 1:
                raise ValueError(f"the tag {tag!r} is a prefix of {(clash or [tag])[0]!r}; give other tags")

    def explain(self, tool: Tool) -> str:
        """See Format."""
        tags, result = self._tags(tool.name), self._result
        call = f"between {tags.open} and {tags.close}"
        return explained(tool, call, f"between {result.open} and {result.close}")

    def parse(self, raw: RawCall) -> Call:
        """See Format. A newline after the opening tag is not part of the body."""
        assert raw.tool is not None
        return parse_body(self.tools[raw.tool], raw.body.removeprefix("\n"))

    def write(self, call: Call) -> str:
        """See Format.

        Raises:
            ValueError: the body contains the closing tag.
        """
        tags, body = self._tags(call.tool), write_body(self.tools[call.tool], call.arguments)
        if tags.close in body:
            raise ValueError(f"a call of {call.tool} cannot contain {tags.close}")
        return f"{tags.open}\n{body.removesuffix(chr(10))}\n{tags.close}"

    def render(self, text: str, *, after_newline: bool = False, opened: bool = False) -> list[Piece]:
        """See Format."""
        begin, opening, closing = "" if after_newline else "\n", self._result.open, self._result.close
        if self._added.isdisjoint((opening, closing)):
            return [Piece(f"{begin}{'' if opened else opening}\n{text}\n{closing}\n")]
        tags = [Piece(begin), Piece(opening, control=True)] if not opened else [Piece(begin)]
        return [*tags, Piece(f"\n{text}\n"), Piece(closing, control=True), Piece("\n")]


def ends_in(token: bytes, tag: bytes) -> bool:
    """Whether ``tag`` can end within ``token``; it may begin before it."""
    return tag in token or any(token.startswith(tag[start:]) for start in range(1, len(tag)))


def neutralise_tags(text: str, tags: Sequence[str]) -> str:
    """Return ``text`` with a space after the first character of each tag in it."""
    pattern = "|".join(map(re.escape, sorted(tags, key=len, reverse=True)))
    # Tags contain no white space, so a space cannot complete one. They may overlap.
    return re.sub(f"(?={pattern})(.)", r"\1 ", text, flags=re.DOTALL)


def tag_spans(text: str, blocks: Sequence[Tags]) -> list[Span]:
    """Return the blocks of ``text`` in order; the text starts outside a block. Linear time."""
    by_tag = {block.open: block for block in blocks}
    pattern = re.compile("|".join(map(re.escape, by_tag)))
    spans: list[Span] = []
    position = 0
    while found := pattern.search(text, position):
        block = by_tag[found.group()]
        closing = text.find(block.close, found.end())
        position = len(text) if closing < 0 else closing + len(block.close)
        spans.append(Span(found.start(), position, block.kind))
    return spans


class TagScanner:
    """Tracks the blocks of one policy segment, which is fed in pieces of any size.

    Args:
        blocks: all kinds of blocks.
    """

    def __init__(self, blocks: Sequence[Tags]) -> None:
        self._blocks = blocks
        self._opens = [(block.open.encode(), block.close.encode(), block) for block in blocks]
        self._longest = max(len(opening) for opening, _, _ in self._opens)
        self._open: Tags | None = None
        self._close = b""
        self._seen = bytearray()  # outside a block: the last bytes; inside: the body
        self.call = RawCall(None, "")

    @property
    def inside(self) -> bool:
        """See Scanner."""
        return self._open is not None and self._open.kind == CALL

    def copy(self) -> TagScanner:
        """See Scanner."""
        other = TagScanner(self._blocks)
        other._open, other._close = self._open, self._close
        other._seen, other.call = self._seen.copy(), self.call
        return other

    def feed(self, data: bytes) -> int | None:
        """See Scanner."""
        at = 0
        while at < len(data):
            known = len(self._seen)
            self._seen += data[at:]
            if self._open is None:
                found = self._first_opening()
                if found is None:
                    del self._seen[: 1 - self._longest]
                    return None
                end, self._close, self._open = found
                self._seen.clear()
                at += end - known
                continue
            start = self._seen.find(self._close, max(0, known - len(self._close) + 1))
            if start < 0:
                return None
            block, self._open = self._open, None
            body = self._seen[:start].decode("utf-8", errors="replace")
            self._seen.clear()
            at += start + len(self._close) - known
            if block.kind == CALL:
                self.call = RawCall(block.tool, body)
                return at
        return None

    def _first_opening(self) -> tuple[int, bytes, Tags] | None:
        """Return the end of the first opening tag, its closing tag and its kind of block."""
        places = [
            (start, start + len(opening), closing, block)
            for opening, closing, block in self._opens
            if (start := self._seen.find(opening)) >= 0
        ]
        return min(places, key=lambda place: place[0])[1:] if places else None
