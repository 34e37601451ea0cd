"""Texts of documents, made fit for an editor."""

from __future__ import annotations

import pytest

from fal_codegen.prose import LONGEST, LONGEST_LINE, in_one_line, paragraphs


@pytest.mark.parametrize(
    ("text", "shown", "line"),
    [
        ("Plain.", "Plain.", "Plain."),
        ("", "", ""),
        (" \n\t\n ", "", ""),
        ("\n        One sentence\n        that was wrapped.\n    ", "One sentence that was wrapped.", None),
        ("First line\n    and more of it.", "First line and more of it.", None),
        ("One.\n\n\n  Two.", "One.\n\nTwo.", "One. Two."),
        ("Styles:\n  - few\n    of them\n  * many\n• all", "Styles:\n- few of them\n* many\n- all", "Styles: - few of them * many - all"),
        ("1. one\n2) two\n\nEnd.", "1. one\n2) two\n\nEnd.", "1. one 2) two End."),
        ("12 frames\n-5 is too few", "12 frames -5 is too few", None),
        ("# Big\ntext\n## Small ##", "**Big**\ntext\n**Small**", "Big text Small"),
        ("**Must** be [a link](https://x.y/z), __really__", "**Must** be [a link](https://x.y/z), __really__", "Must be a link (https://x.y/z), really"),
        ("2 ** 3 ** 4 and __", "2 ** 3 ** 4 and __", None),
        ("Use:\n```json\n{\n  \"a\": 1\n}\n```\nThen go.", "Use:\n```json\n{\n  \"a\": 1\n}\n```\nThen go.", "Use: Then go."),
        ("Open:\n```\nx  y", "Open:\n```\nx  y\n```", "Open:"),
        ("Use <img><|image_1|></img> for\nthe first", "Use <img><|image_1|></img> for the first", None),
        ("a\r\nb\x0bc\u2028d", "a b c d", None),
        ("tab\tstop", "tab stop", None),
    ],
)  # fmt: skip
def test_two_forms_of_a_text(text: str, shown: str, line: str | None) -> None:
    assert paragraphs(text) == shown
    assert in_one_line(text) == (shown if line is None else line)


def test_what_is_too_long_ends_with_a_sentence_or_a_word() -> None:
    sentences = "This sentence has forty characters, yes. " * 60
    assert len(paragraphs(sentences)) <= LONGEST
    assert paragraphs(sentences).endswith("yes.")
    assert in_one_line(sentences).endswith("yes.")
    assert len(in_one_line(sentences)) > LONGEST_LINE - 41
    words = "word " * 1000
    assert paragraphs(words).endswith("word…")
    assert len(paragraphs(words)) <= LONGEST
    code = "Text.\n```\n" + "x = 1\n" * 400 + "```"
    assert paragraphs(code).count("```") == 2
