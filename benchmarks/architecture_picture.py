"""Draw docs/architecture.svg from the imports of the code and the layers of docs/architecture.md.

    python benchmarks/architecture_picture.py [--out docs/architecture.svg]

The functions that read layers and imports are used by ``tests/test_architecture.py`` too.
"""

from __future__ import annotations

import argparse
import ast
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from itertools import pairwise
from math import fsum
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "architecture.md"
PICTURE = PAGE.with_suffix(".svg")
LIBRARY = "siren_ext"
SHELLS = ("comfy_nodes", "a1111_extension", "gradio_demo")
BASE = "base"  # the modules at the root of the library, as one package
# Folders from which modules are imported, with the prefix of their names.
SOURCES = {
    "siren_ext": "siren_ext.",
    "comfy_nodes": "comfy_nodes.",
    "a1111_extension/siren_a1111": "siren_a1111.",
    "a1111_extension": "",
    "gradio_demo": "",
}


@dataclass(frozen=True)
class Layers:
    """The layers of the packages, as the page states them."""

    of: Mapping[str, int]
    to_come: frozenset[str]
    base: frozenset[str]


@dataclass(frozen=True)
class Import:
    """An import of one module of the project by another."""

    file: Path
    line: int
    module: str
    imported: str
    on_load: bool


def read_layers(page: Path = PAGE) -> Layers:
    """The table of layers in the page: rows ``| 3 | `coater` | what it is for |``.

    Modules of the root are listed in the row of `base`, and packages marked "(to come)" do not
    exist yet.
    """
    of: dict[str, int] = {}
    to_come: set[str] = set()
    base: set[str] = set()
    row = re.compile(r"\| *(\d+) *\| *`(\w+)`( \(to come\))? *\|(.*)\|")
    for line in page.read_text(encoding="utf-8").splitlines():
        if found := row.fullmatch(line.strip()):
            number, name, later, purpose = found.groups()
            of[name] = int(number)
            if later:
                to_come.add(name)
            if name == BASE:
                base = set(re.findall(r"`(\w+)`", purpose))
    return Layers(of, frozenset(to_come), frozenset(base))


def packages(root: Path = ROOT) -> set[str]:
    """The packages of the library and the shells, as they are on disk."""
    inner = {file.parent.name for file in (root / LIBRARY).glob("*/__init__.py")}
    return inner | {shell for shell in SHELLS if (root / shell).is_dir()} | {BASE}


def package_of(file: Path, root: Path = ROOT) -> str:
    """The package to which a file belongs: a shell, a package of the library, or ``base``."""
    top, *rest = file.relative_to(root).parts
    if top != LIBRARY:
        return top
    return rest[0] if len(rest) > 1 else BASE


def modules(root: Path = ROOT) -> dict[str, Path]:
    """Every module of the library and the shells by the name under which it is imported."""
    found: dict[str, Path] = {}
    taken: set[Path] = set()
    for folder, prefix in SOURCES.items():
        for file in sorted((root / folder).rglob("*.py")):
            if file not in taken:
                parts = file.relative_to(root / folder).with_suffix("").parts
                name = prefix + ".".join(part for part in parts if part != "__init__")
                found[name.rstrip(".")] = file
                taken.add(file)
    return found


def imports(root: Path = ROOT) -> list[Import]:
    """Every import of one module of the project by another, also those inside functions.

    ``siren_ext/__init__.py`` is left out: it names the public objects of all packages, which are
    loaded when first used. The name of a module in a string counts as an import.
    """
    known = modules(root)
    return [
        Import(file, line, name, imported, on_load)
        for name, file in known.items()
        if name != LIBRARY
        for line, imported, on_load in _imports_of(name, file, known)
    ]


def _imports_of(
    name: str, file: Path, known: Mapping[str, Path]
) -> Iterator[tuple[int, str, bool]]:
    """Line, imported module, and whether it is imported when the module itself is loaded."""
    package = name if file.name == "__init__.py" else name.rpartition(".")[0]
    todo: list[tuple[ast.AST, bool]] = [(ast.parse(file.read_text(encoding="utf-8")), True)]
    while todo:
        node, on_load = todo.pop()
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            on_load = False
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            todo += [(child, False) for child in node.body]
            todo += [(child, on_load) for child in node.orelse]
            continue
        targets: list[str] = []
        if isinstance(node, ast.Import):
            targets = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            parents = package.split(".")[: len(package.split(".")) - node.level + 1]
            inside = ".".join([*(parents if node.level else []), *filter(None, [node.module])])
            targets = [
                f"{inside}.{alias.name}" if f"{inside}.{alias.name}" in known else inside
                for alias in node.names
            ]
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            targets = [node.value] if node.value.count(".") > 1 else []
            on_load = False
        for target in dict.fromkeys(targets):
            if target in known and target not in (name, LIBRARY):
                yield node.lineno, target, on_load
        todo += [(child, on_load) for child in ast.iter_child_nodes(node)]


def package_imports(found: Sequence[Import], root: Path = ROOT) -> dict[str, set[str]]:
    """The packages that each package imports."""
    known = modules(root)
    graph: dict[str, set[str]] = {package: set() for package in sorted(packages(root))}
    for one in found:
        importer, imported = package_of(one.file, root), package_of(known[one.imported], root)
        if importer != imported and one.file.name != "__main__.py":
            graph[importer].add(imported)
    return graph


def circles(graph: Mapping[str, Collection[str]]) -> list[list[str]]:
    """The groups of nodes that lead back to themselves, each sorted."""
    leads = {node: reachable(graph, node) for node in graph}
    groups = {
        tuple(sorted(other for other in leads[node] if node in leads.get(other, ())))
        for node in graph
        if node in leads[node]
    }
    return [list(group) for group in sorted(groups)]


def reachable(graph: Mapping[str, Collection[str]], start: str) -> set[str]:
    """All nodes to which a path of one or more steps leads."""
    seen: set[str] = set()
    todo = list(graph.get(start, ()))
    while todo:
        node = todo.pop()
        if node not in seen:
            seen.add(node)
            todo += graph.get(node, ())
    return seen


def without_implied(graph: Mapping[str, set[str]]) -> dict[str, set[str]]:
    """The graph without the arrows that a longer path of arrows implies (transitive reduction)."""
    leads = {node: reachable(graph, node) for node in graph}
    return {
        node: {to for to in targets if not any(to in leads[via] for via in targets - {to})}
        for node, targets in graph.items()
    }


# Lengths in pixels.
WIDTH, MARGIN, ROW, HEIGHT, GAP, LETTER = 1000, 56, 76, 34, 20, 8.2
SWEEPS = 40
STRAIGHT = 6
STYLE = (
    "text{font-family:system-ui,sans-serif;font-size:14px;fill:#1c2733;text-anchor:middle}"
    ".number{fill:#8894a3;font-size:12px}.note{font-size:13px;fill:#4b5866}"
    "rect{fill:#e7f0fa;stroke:#5b83ad;stroke-width:1.2}.shell{fill:#fdf0dc;stroke:#bf8a3c}"
    ".base{fill:#e8f3e6;stroke:#6a9a63}.later{fill:none;stroke:#a3adb8;stroke-dasharray:4 3}"
    ".later-name{fill:#8894a3}"
    "path{fill:none;stroke:#5d6b7a;stroke-width:1.2}line{stroke:#e3e8ee}"
)


@dataclass
class Node:
    """A box, or a point at which an arrow passes a layer."""

    name: str
    layer: int
    width: float
    x: float = 0.0


def draw(graph: Mapping[str, set[str]], layers: Layers) -> str:
    """The picture: a row per layer, the base at the bottom, arrows from importer to imported."""
    inner = {node: {to for to in targets if to != BASE} for node, targets in graph.items()}
    inner.pop(BASE, None)
    rows: dict[int, list[Node]] = {}
    boxes: dict[str, Node] = {}
    for name in sorted(layers.of):
        if name != BASE:
            boxes[name] = Node(name, layers.of[name], LETTER * len(name) + 26)
            rows.setdefault(layers.of[name], []).append(boxes[name])
    chains: list[list[Node]] = []
    for name, targets in sorted(without_implied(inner).items()):
        for target in sorted(targets):
            start, end = boxes[name], boxes[target]
            between = [
                Node(f"{name}>{target}", layer, 10.0)
                for layer in range(start.layer - 1, end.layer, -1)
            ]
            for node in between:
                rows[node.layer].append(node)
            chains.append([start, *between, end])
    _place(rows, chains)
    top = max(rows)
    parts = [f"<style>{STYLE}</style>", f'<rect width="{WIDTH}" height="{_y(1, top) + HEIGHT + 34}"'
             ' style="fill:#fff;stroke:none"/>', ARROW]  # fmt: skip
    for layer in range(1, top + 1):
        y = _y(layer, top) + HEIGHT // 2
        parts.append(f'<text class="number" x="24" y="{y + 5}">{layer}</text>')
    parts += [_arrow(chain, chains, top) for chain in chains]
    for name, node in boxes.items():
        kind = "later" if name in layers.to_come else "shell" if name in SHELLS else ""
        parts.append(_box(name, node.x, _y(node.layer, top), node.width, kind))
    parts.append(_box("", WIDTH / 2 + 12, _y(1, top), WIDTH - 2 * MARGIN, "base"))
    listed = " · ".join(sorted(layers.base))
    parts.append(_text(f"base: {listed}", WIDTH / 2 + 12, _y(1, top) + 23))
    note = "Arrows point to what is imported. Not drawn: arrows that others imply, arrows to base."
    parts.append(_text(note, WIDTH / 2 + 12, _y(1, top) + HEIGHT + 22, "note"))
    height = _y(1, top) + HEIGHT + 34
    body = "\n".join(parts)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" '
        f'width="{WIDTH}" height="{height}">\n{body}\n</svg>\n'
    )


ARROW = (
    '<marker id="head" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" '
    'orient="auto"><path d="M0 0L8 4L0 8z" style="fill:#5d6b7a;stroke:none"/></marker>'
)


def _y(layer: int, top: int) -> int:
    """Upper edge of a layer's boxes."""
    return 16 + (top - layer) * ROW


def _place(rows: Mapping[int, list[Node]], chains: Sequence[list[Node]]) -> None:
    """Order every row by where its arrows lead, then move boxes towards their neighbours."""
    near: dict[int, list[Node]] = {}
    for chain in chains:
        for one, other in pairwise(chain):
            # the part of an arrow that passes layers is kept straight
            weight = STRAIGHT if chain[0] is not one and chain[-1] is not other else 1
            near.setdefault(id(one), []).extend([other] * weight)
            near.setdefault(id(other), []).extend([one] * weight)
    for nodes in rows.values():
        _spread(nodes, [WIDTH / 2 if id(node) in near else WIDTH for node in nodes])
    order = sorted(rows)
    for sweep in range(SWEEPS):
        down = sweep % 2 == 0
        for layer in order if down else reversed(order):
            nodes = rows[layer]
            wanted = {}
            for node in nodes:
                others = near.get(id(node), [])
                side = [o for o in others if (o.layer < layer) == down and o.layer != layer]
                places = [other.x for other in side or others] or [WIDTH]
                wanted[id(node)] = fsum(places) / len(places)
            if sweep < SWEEPS // 2:
                nodes.sort(key=lambda node: (round(wanted[id(node)]), node.name))
            _spread(nodes, [wanted[id(node)] for node in nodes])


def _spread(nodes: Sequence[Node], wanted: Sequence[float]) -> None:
    """Put each node where it wants to be, or as near as the gaps between the nodes allow."""
    offsets, total = [], 0.0
    for node in nodes:
        offsets.append(total + node.width / 2)
        total += node.width + GAP
    groups: list[tuple[float, int]] = []
    for place, offset in zip(wanted, offsets, strict=True):
        groups.append((place - offset, 1))
        while len(groups) > 1 and groups[-2][0] > groups[-1][0]:
            (first, some), (second, more) = groups[-2:]
            groups[-2:] = [((first * some + second * more) / (some + more), some + more)]
    lowest, highest = float(MARGIN), WIDTH - MARGIN - total + GAP + 24
    starts = [min(max(start, lowest), highest) for start, count in groups for _ in range(count)]
    for node, start, offset in zip(nodes, starts, offsets, strict=True):
        node.x = start + offset


def _arrow(chain: Sequence[Node], chains: Sequence[Sequence[Node]], top: int) -> str:
    """A curve from box to box, vertical where it leaves, passes a layer, and arrives."""
    start, end = chain[0], chain[-1]
    if start.layer == end.layer:
        side = 1 if end.x > start.x else -1
        y = _y(start.layer, top) + HEIGHT // 2
        first, last = start.x + side * start.width / 2, end.x - side * end.width / 2
        return _path(f"M{first:.0f} {y}L{last:.0f} {y}")
    out = _port(chain, 0, 1, [one for one in chains if one[0] is start])
    into = _port(chain, -1, -2, [one for one in chains if one[-1] is end])
    points = [(out, _y(start.layer, top) + HEIGHT)]
    for node in chain[1:-1]:
        y = _y(node.layer, top)
        points += [(node.x, y), (node.x, y + HEIGHT)]
    points.append((into, _y(end.layer, top)))
    text = f"M{points[0][0]:.0f} {points[0][1]}"
    for (x, y), (to, below) in pairwise(points):
        middle = (y + below) // 2
        straight = below - y == HEIGHT
        text += f"L{to:.0f} {below}" if straight else (
            f"C{x:.0f} {middle} {to:.0f} {middle} {to:.0f} {below}"
        )  # fmt: skip
    return _path(text)


def _port(chain: Sequence[Node], at: int, toward: int, same: Sequence[Sequence[Node]]) -> float:
    """Where on the edge of a box an arrow begins or ends: those of one box side by side."""
    same = [one for one in same if one[0].layer != one[-1].layer]
    box = chain[at]
    ranked = sorted(same, key=lambda one: (one[toward].x, one[-1 - at].name))
    place = next(number for number, one in enumerate(ranked) if one is chain)
    step = min(24.0, (box.width - 20) / len(same))
    return box.x + (place - (len(same) - 1) / 2) * step


def _path(text: str) -> str:
    return f'<path d="{text}" marker-end="url(#head)"/>'


def _box(name: str, x: float, y: int, width: float, kind: str) -> str:
    box = (
        f'<rect class="{kind}" x="{x - width / 2:.0f}" y="{y}" width="{width:.0f}" '
        f'height="{HEIGHT}" rx="5"/>'
    )
    return box + _text(name, x, y + 23, "later-name" if kind == "later" else "")


def _text(text: str, x: float, y: int, kind: str = "") -> str:
    return f'<text class="{kind}" x="{x:.0f}" y="{y}">{escape(text)}</text>' if text else ""


def picture() -> str:
    """The picture of the code as it is."""
    return draw(package_imports(imports()), read_layers())


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=PICTURE)
    args = parser.parse_args()
    args.out.write_text(picture(), encoding="utf-8")
    print(f"wrote {args.out}")


if __name__ == "__main__":
    main()
