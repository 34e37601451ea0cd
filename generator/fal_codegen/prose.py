"""Texts that the platform's people wrote, made fit for an editor: indentation, line breaks, Markdown, length.

An editor shows the string under a field as Markdown, in several lines; of a class's `Args:` it shows one line of a field,
as it is. So a text has two forms, `paragraphs` and `in_one_line`.
"""

from __future__ import annotations

import re

__all__ = ["in_one_line", "paragraphs"]

LONGEST = 1200
"""Characters of a text, more than nearly all have; what is longer is cut between sentences."""
LONGEST_LINE = 320

_ITEM = re.compile(r"(?:[-*+•]|\d{1,2}[.)])\s+")
_HEADING = re.compile(r"#{1,6}\s+(.*?)\s*#*")
_FENCE = re.compile(r"```|~~~")
_LINK = re.compile(r"!?\[([^\]\[]*)\]\(([^()\s]+)\)")
_STRONG = re.compile(r"(\*\*|__)(?=\S)(.+?)(?<=\S)\1")


def paragraphs(text: str) -> str:
    """A text as Markdown: what was broken to fit a page is put together, lists and code keep their lines."""
    blocks: list[str] = []
    open_ = False
    fenced = False
    for raw in text.expandtabs(4).splitlines():
        line = raw.strip()
        if _FENCE.match(line):
            fenced, open_ = not fenced, False
            blocks.append(line)
        elif fenced:
            blocks.append(raw.rstrip())
        elif not line:
            if blocks and blocks[-1]:
                blocks.append("")
            open_ = False
        elif heading := _HEADING.fullmatch(line):
            blocks.append(f"**{heading[1]}**")
            open_ = False
        elif _ITEM.match(line):
            blocks.append(_ITEM.sub(lambda mark: f"{mark[0].strip().replace('•', '-')} ", line, count=1))
            open_ = True
        elif open_:
            blocks[-1] += f" {line}"
        else:
            blocks.append(line)
            open_ = True
    if fenced:
        blocks.append("```")
    lines = [block if fence else " ".join(block.split()) for block, fence in _with_fences(blocks)]
    return _shortened("\n".join(lines).strip("\n"), LONGEST)


def in_one_line(text: str) -> str:
    """A text in one line, without marks of Markdown that would be shown as they are."""
    kept = [line for line, fence in _with_fences(paragraphs(text).split("\n")) if not fence]
    plain = _STRONG.sub(r"\2", _LINK.sub(r"\1 (\2)", " ".join(" ".join(kept).split())))
    return _shortened(plain, LONGEST_LINE)


def _with_fences(lines: list[str]) -> list[tuple[str, bool]]:
    """Lines, and whether each is code."""
    found: list[tuple[str, bool]] = []
    fenced = False
    for line in lines:
        mark = _FENCE.match(line) is not None
        found.append((line, fenced or mark))
        fenced ^= mark
    return found


def _shortened(text: str, limit: int) -> str:
    """A text of at most so many characters, cut after a sentence if one ends late enough, or else after a word."""
    if len(text) <= limit:
        return text
    head = text[:limit]
    sentence = max(head.rfind(end) for end in (". ", ".\n", "! ", "? "))
    word = head[: limit - 1].rpartition(" ")[0].rstrip(" ,;:") + "…"
    cut = head[: sentence + 1] if sentence >= limit // 2 else word
    return f"{cut}\n```" if cut.count("```") % 2 else cut
