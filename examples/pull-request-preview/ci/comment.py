"""Writes comment.md: the review, with the text of the preview folded below it.

    python ci/comment.py [address of the page]

It reads what the pipeline has left in this folder: ``preview.txt``, the text of the preview;
``review.txt``, what the review has printed; and ``review.md``, the review, if there is one.
"""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path

LONGEST_COMMENT = 65_536
"""The characters that a comment at GitHub may have. Azure DevOps takes more."""
FOLDED = "\n<details><summary>The preview as text</summary>\n\n{}\n</details>\n"
LEFT_OUT = "\nThe preview as text is too long for this comment. The log of the run has it.\n"
CUT = "[The rest is in the log of the run.]"


def main(page: str = "") -> None:
    preview, review, said = map(content, ("preview.txt", "review.md", "review.txt"))
    stack = f"`{os.environ['PULUMI_STACK']}`"
    if review is not None:
        link = f"\n[The page of this review]({page})\n" if page else ""
        comment = with_preview(review + link, preview or "")
    elif said is not None:
        head = f"### There is no review of {stack}\n\n"
        comment = with_preview(head + fenced(said, LONGEST_COMMENT // 2, keep_end=True), preview)
    elif preview is not None:
        head = f"### The preview of {stack} failed\n\n"
        # Errors stand at the end.
        comment = head + fenced(preview, LONGEST_COMMENT - len(head), keep_end=True)
    else:
        comment = f"### There is no preview of {stack}\n\nThe log of the run says why.\n"
    Path("comment.md").write_text(comment, "utf-8", newline="\n")


def content(file: str) -> str | None:
    path = Path(file)
    return path.read_text("utf-8", errors="replace") if path.exists() else None


def with_preview(head: str, preview: str | None) -> str:
    """The head whole, and of the preview what fits."""
    room = LONGEST_COMMENT - len(head) - len(FOLDED)
    if not preview or (room < len(preview) and room < 1_000):
        return head + (LEFT_OUT if preview else "")
    return head + FOLDED.format(fenced(preview, room))


def fenced(text: str, room: int, *, keep_end: bool = False) -> str:
    """A block of code with the text, or with its beginning or end if there is no room for all."""
    text = text.strip("\n")
    longest = max(map(len, re.findall("`+", text)), default=0)
    fence = "`" * max(3, longest + 1)  # so that nothing in the text ends the block
    room -= len(f"{fence}text\n\n{fence}\n")
    if len(text) > room:
        room -= len(CUT) + 1
        text = f"{CUT}\n{text[-room:]}" if keep_end else f"{text[:room]}\n{CUT}"
    return f"{fence}text\n{text}\n{fence}\n"


if __name__ == "__main__":
    main(*sys.argv[1:])
