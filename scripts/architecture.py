"""Draws docs/maintainers/imports.svg from the imports of the package.

The layers are those of the table in docs/maintainers/architecture.md. A file that is in no layer,
and an import that points upward, are errors.
"""

import ast
import re
import sys
from collections import Counter
from collections.abc import Iterator
from typing import NamedTuple

from environment import ROOT, use_environment

if __name__ == "__main__":
    use_environment()

PACKAGE = ROOT / "provider" / "pulumi_vmbackup"
PAGE = ROOT / "docs" / "maintainers" / "architecture.md"
PICTURE = PAGE.parent / "imports.svg"
APART = ("__init__", "simulator")  # the public names, and what the package never imports

# Sizes of the picture, in pixels.
_WIDTH, _NAMES, _LINE, _GAP, _ARC = 960, 110, 27, 14, 34
_CHARACTER, _MARGIN, _RIGHT = 7.6, 18, 700


def main() -> None:
    PICTURE.write_text(picture(), "utf-8", newline="\n")


def layers() -> dict[str, tuple[str, ...]]:
    """The layers from the top to the bottom, and the files and folders of each."""
    rows = re.findall(r"^\| (\w+) \| (`.+?`) \|", PAGE.read_text("utf-8"), re.MULTILINE)
    return {layer: tuple(re.findall(r"`(\w+)/?`", names)) for layer, names in rows}


def imports() -> Iterator[tuple[str, str]]:
    """Each import of the package between two of its files or folders: who imports, and what."""
    for file in sorted(PACKAGE.rglob("*.py")):
        path = file.relative_to(PACKAGE).with_suffix("").parts
        for node in ast.walk(ast.parse(file.read_text("utf-8"))):
            if isinstance(node, ast.ImportFrom) and node.level:
                package = path[: len(path) - node.level]
                modules = [node.module] if node.module else [each.name for each in node.names]
                for module in modules:
                    imported = (*package, *str(module).split("."))[0]
                    if imported != path[0]:
                        yield path[0], imported


def between_layers() -> Counter[tuple[str, str]]:
    """How many imports there are between two layers, or in one.

    Raises:
        SystemExit: an import points upward, or a file is in no layer.
    """
    of = {name: layer for layer, names in layers().items() for name in names}
    order = list(layers())
    found: Counter[tuple[str, str]] = Counter()
    for importer, imported in imports():
        if importer in APART:
            continue
        if importer not in of or imported not in of:
            missing = importer if importer not in of else imported
            sys.exit(f"{missing} is in no layer of {PAGE.relative_to(ROOT)}.")
        pair = (of[importer], of[imported])
        if order.index(pair[0]) > order.index(pair[1]):
            sys.exit(f"{importer} ({pair[0]}) imports {imported} ({pair[1]}), which is above it.")
        found[pair] += 1
    return found


class Band(NamedTuple):
    """A layer in the picture."""

    y: int
    height: int
    files: list[tuple[str, float, float, int]]
    """The name of each file, its left end, its width and its upper end."""


def picture() -> str:
    """The picture as SVG: a band for each layer, and an arc for each two that import."""
    bands = _bands()
    height = max(band.y + band.height for band in bands.values()) + _GAP
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height}" '
        f'width="{_WIDTH}" height="{height}" font-family="sans-serif" font-size="13" role="img">',
        "<title>The layers of the package and the imports between them</title>",
        '<rect width="100%" height="100%" fill="#ffffff"/>',
    ]
    for layer, band in bands.items():
        parts.append(
            f'<rect x="4" y="{band.y}" width="{_RIGHT - 4}" height="{band.height}" rx="6" '
            'fill="#eef2f7"/>'
            f'<text x="16" y="{band.y + 26}" font-weight="bold" fill="#1f2d3d">{layer}</text>'
        )
        for name, x, width, y in band.files:
            parts.append(
                f'<rect x="{x:.0f}" y="{y}" width="{width:.0f}" height="21" rx="4" '
                'fill="#ffffff" stroke="#8aa0b8"/>'
                f'<text x="{x + width / 2:.0f}" y="{y + 15}" text-anchor="middle" '
                f'fill="#1f2d3d">{name}</text>'
            )
    return "\n".join([*parts, *_arcs(bands), "</svg>\n"])


def _bands() -> dict[str, Band]:
    bands, y = {}, _GAP
    for layer, names in layers().items():
        files, x, at = [], float(_NAMES), y + 10
        for name in names:
            width = len(name) * _CHARACTER + _MARGIN
            if x + width > _RIGHT - 10:
                x, at = float(_NAMES), at + _LINE
            files.append((name, x, width, at))
            x += width + 8
        bands[layer] = Band(y, at + _LINE + 4 - y, files)
        y += bands[layer].height + _GAP
    return bands


def _arcs(bands: dict[str, Band]) -> Iterator[str]:
    order = list(bands)
    found = between_layers()
    for pair in sorted(found, key=lambda pair: [order.index(layer) for layer in pair]):
        upper, lower = (bands[layer] for layer in pair)
        distance = order.index(pair[1]) - order.index(pair[0])
        if not distance:
            continue
        # An arc leaves in the lower half of a band, and arrives in the upper half of another one.
        start = upper.y + upper.height * (0.55 + 0.06 * distance)
        end = lower.y + lower.height * (0.45 - 0.06 * (len(order) - distance))
        out = _RIGHT + _ARC * distance
        yield (
            f'<path d="M {_RIGHT} {start:.0f} C {out} {start:.0f} {out} {end:.0f} {_RIGHT + 6} '
            f'{end:.0f}" fill="none" stroke="#2f6fb2" '
            f'stroke-width="{min(1 + found[pair] / 12, 4):.1f}" opacity="0.75"/>'
            f'<path d="M {_RIGHT} {end:.0f} l 9 -4 v 8 z" fill="#2f6fb2"/>'
        )
        yield (
            f'<text x="{_RIGHT + _ARC * distance * 0.75:.0f}" y="{(start + end) / 2 + 4:.0f}" '
            'text-anchor="middle" fill="#173f69" stroke="#ffffff" stroke-width="4" '
            f'paint-order="stroke">{found[pair]}</text>'
        )


if __name__ == "__main__":
    main()
