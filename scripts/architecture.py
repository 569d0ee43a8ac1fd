"""Draws docs/maintainers/imports.svg from the imports of the package.

The layers are those of the table in docs/maintainers/architecture.md. A file that is in no layer,
and an import that points upward, are errors.
"""

import ast
import re
import sys
from collections import Counter
from collections.abc import Iterator
from html import escape

from environment import ROOT, use_environment

if __name__ == "__main__":
    use_environment()

PACKAGE = ROOT / "provider" / "pulumi_vmbackup"
PAGE = ROOT / "docs" / "maintainers" / "architecture.md"
PICTURE = PAGE.parent / "imports.svg"
APART = ("__init__", "simulator")  # the public names, and what the package never imports

# Sizes of the picture, in pixels.
_WIDTH, _NAMES, _ROW, _LINE, _ARC = 960, 110, 92, 26, 34
_CHIP_CHARACTER, _CHIP_MARGIN, _RIGHT = 7.4, 18, 700


def main() -> None:
    PICTURE.write_text(picture(), "utf-8")


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


def picture() -> str:
    """The picture as SVG: a band for each layer, and an arc for each two that import."""
    found = between_layers()
    all_layers = layers()
    top = {layer: 10 + number * _ROW for number, layer in enumerate(all_layers)}
    height = 10 + len(all_layers) * _ROW
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height}" '
        f'width="{_WIDTH}" height="{height}" font-family="sans-serif" font-size="13" role="img">',
        "<title>The layers of the package and the imports between them</title>",
        '<rect width="100%" height="100%" fill="#ffffff"/>',
    ]
    for layer, names in all_layers.items():
        y = top[layer]
        parts.append(
            f'<rect x="4" y="{y}" width="{_RIGHT - 4}" height="{_ROW - 12}" rx="6" fill="#eef2f7"/>'
            f'<text x="16" y="{y + 24}" font-weight="bold" fill="#1f2d3d">{escape(layer)}</text>'
        )
        x, line = float(_NAMES), 0
        for name in names:
            width = len(name) * _CHIP_CHARACTER + _CHIP_MARGIN
            if x + width > _RIGHT - 10:
                x, line = float(_NAMES), line + 1
            at = y + 8 + line * _LINE
            parts.append(
                f'<rect x="{x:.0f}" y="{at}" width="{width:.0f}" height="21" rx="4" '
                'fill="#ffffff" stroke="#8aa0b8"/>'
                f'<text x="{x + width / 2:.0f}" y="{at + 15}" text-anchor="middle" '
                f'fill="#1f2d3d">{escape(name)}</text>'
            )
            x += width + 8
    parts += _arcs(found, top)
    return "\n".join([*parts, "</svg>\n"])


def _arcs(found: Counter[tuple[str, str]], top: dict[str, int]) -> Iterator[str]:
    order = list(top)
    for (upper, lower), count in sorted(
        found.items(), key=lambda each: (order.index(each[0][0]), order.index(each[0][1]))
    ):
        distance = order.index(lower) - order.index(upper)
        if not distance:
            continue
        middle = (_ROW - 12) / 2
        # An arc leaves in the lower half of its band and arrives in the upper half of another one.
        start = top[upper] + middle + 4 + 5 * distance
        end = top[lower] + middle - 4 - 5 * (len(order) - distance) / 2
        out = _RIGHT + _ARC * distance
        yield (
            f'<path d="M {_RIGHT} {start:.0f} C {out} {start:.0f} {out} {end:.0f} {_RIGHT + 6} '
            f'{end:.0f}" fill="none" stroke="#2f6fb2" '
            f'stroke-width="{min(1 + count / 12, 4):.1f}" opacity="0.75"/>'
            f'<path d="M {_RIGHT} {end:.0f} l 9 -4 v 8 z" fill="#2f6fb2"/>'
        )
        label = _RIGHT + (out - _RIGHT) * 0.75
        yield (
            f'<text x="{label:.0f}" y="{(start + end) / 2 + 4:.0f}" text-anchor="middle" '
            'fill="#173f69" stroke="#ffffff" stroke-width="4" paint-order="stroke">'
            f"{count}</text>"
        )


if __name__ == "__main__":
    main()
