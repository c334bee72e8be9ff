"""What Markdown documents hold: headings, links, blocks of code, and tables that are generated.

<!-- NAME: begin (generated from FILE) -->
...
<!-- NAME: end -->
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from harness.errors import HarnessError
from harness.locations import REPOSITORY

FENCE = re.compile(r"^```(?P<language>\S*)[^\n]*\n(?P<text>.*?)^```\s*$", re.MULTILINE | re.DOTALL)
HEADING = re.compile(r"^#{1,6} +(?P<text>.+?)\s*$", re.MULTILINE)
LINK = re.compile(r"\[[^\]\n]*\]\((?P<target>[^)\s]+)\)")
TABLE = re.compile(
    r"(?P<begin><!-- (?P<name>[a-z-]+): begin [^\n]*-->\n)(?P<rows>.*?)(?P<end><!-- (?P=name): end -->)",
    re.DOTALL,
)

MARKER = re.compile(r"<!-- [a-z-]+: (?:begin|end)\b[^\n]*-->")


@dataclass(frozen=True)
class CodeBlock:
    """A fenced block: the word after its fence, and the last heading above it."""

    language: str
    heading: str
    text: str


def documents(root: Path = REPOSITORY) -> list[Path]:
    """The documents for people: those at the top, and everything in docs/."""
    return sorted([*root.glob("*.md"), *(root / "docs").glob("*.md")])


def code_blocks(text: str) -> Iterator[CodeBlock]:
    """The fenced blocks of a document, in their order."""
    for fence in FENCE.finditer(text):
        above = [heading["text"] for heading in HEADING.finditer(text, 0, fence.start())]
        yield CodeBlock(fence["language"], above[-1] if above else "", fence["text"])


def links(text: str) -> list[str]:
    """Where the document's links lead, those inside of code left out."""
    return [link["target"] for link in LINK.finditer(_without_code(text))]


def anchors(text: str) -> set[str]:
    """What `#...` can lead to in the document, by GitHub's rule: the heading in small letters, its blanks as
    hyphens, everything else but letters, digits, hyphens and underscores left out."""
    found = set()
    for heading in HEADING.finditer(FENCE.sub("", text)):
        words = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading["text"]).lower()
        found.add(re.sub(r"[^\w\- ]", "", words).replace(" ", "-"))
    return found


def with_tables(text: str, tables: Mapping[str, str]) -> str:
    """The document with its generated tables as they must be. `tables` has them by name.

    Raises HarnessError for a marker without its other one, and for a name that nobody generates.
    """

    def drawn(table: re.Match[str]) -> str:
        if table["name"] not in tables:
            raise HarnessError(f"no table is called {table['name']}: {', '.join(tables)} are")
        return f"{table['begin']}{tables[table['name']]}{table['end']}"

    if len(MARKER.findall(text)) != 2 * len(table_names(text)):
        raise HarnessError("a generated table lacks one of its two markers, or they are the wrong way round")
    return TABLE.sub(drawn, text)


def table_names(text: str) -> list[str]:
    """The generated tables of a document."""
    return [table["name"] for table in TABLE.finditer(text)]


def _without_code(text: str) -> str:
    return re.sub(r"`[^`\n]*`", "", FENCE.sub("", text))
