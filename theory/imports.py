"""Which project files a module stands on: its own, and those it imports, transitively.

Snakemake reruns a job when an input changed, but does not see imports; rules therefore take
`project_files(module)` as an input. The source is read, not run (ast), so imports inside functions count too;
an import by a computed name (importlib) is invisible and has to be listed by hand. The layer test walks the same graph.
"""

from __future__ import annotations

import ast
import hashlib
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ("theory", "synthetic", "imagenet")


def project_files(*modules: str, root: Path = ROOT) -> list[str]:
    """The files, relative to `root` and sorted, that importing `modules` reads from theory, synthetic and imagenet.

    Raises ModuleNotFoundError for a module that has no file, naming who imports it.
    """
    waiting = [(name, "the caller") for name in modules]
    found: dict[str, Path] = {}
    while waiting:
        name, importer = waiting.pop()
        if name in found:
            continue
        found[name] = _file(name, importer, root)
        if "." in name:  # importing a.b runs a/__init__.py first
            waiting.append((name.rpartition(".")[0], name))
        waiting.extend((other, name) for other in _imports(found[name], name, root))
    return sorted(path.relative_to(root).as_posix() for path in found.values())


def code_digest(files: Iterable[str], root: Path = ROOT) -> str:
    """Hexadecimal digest of what these files do: of their syntax, so not of comments, docstrings and layout.

    For rules whose results take long: as a parameter instead of the files as input, a comment does not make them anew. Another
    version of Python may write the same syntax in another way.
    """
    digest = hashlib.sha256()
    for file in files:
        tree = ast.parse((root / file).read_text(encoding="utf-8"), filename=file)
        for node in ast.walk(tree):
            if not isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
                continue
            if ast.get_docstring(node, clean=False) is not None:
                node.body = node.body[1:]
        digest.update(f"{file}\0{ast.dump(tree)}\0".encode())
    return digest.hexdigest()


@cache  # many experiments share most of theory; one process reads a file once
def _imports(path: Path, name: str, root: Path) -> tuple[str, ...]:
    """The project modules that the file at `path`, which is module `name`, imports directly."""
    package = name if path.name == "__init__.py" else name.rpartition(".")[0]
    tree = ast.parse(path.read_text(encoding="utf-8"), filename=str(path))
    return tuple(other for node in ast.walk(tree) for other in _named(node, package, root) if _ours(other))


def _named(node: ast.AST, package: str, root: Path) -> Iterator[str]:
    """Absolute names of the modules that one syntax node imports; `from a import b` may name the module a.b."""
    if isinstance(node, ast.Import):
        yield from (alias.name for alias in node.names)
    elif isinstance(node, ast.ImportFrom):
        above = package.split(".")[: len(package.split(".")) - node.level + 1] if node.level else []
        base = ".".join([*above, *([node.module] if node.module else [])])
        yield base
        yield from (f"{base}.{alias.name}" for alias in node.names if _locate(f"{base}.{alias.name}", root))


def _ours(name: str) -> bool:
    return name.partition(".")[0] in PACKAGES


def _locate(name: str, root: Path) -> Path | None:
    stem = root.joinpath(*name.split("."))
    candidates = (stem / "__init__.py", stem.with_name(stem.name + ".py"))
    return next((path for path in candidates if path.is_file()), None)


def _file(name: str, importer: str, root: Path) -> Path:
    path = _locate(name, root) if _ours(name) else None
    if path is None:
        raise ModuleNotFoundError(
            f"module {name!r}, imported by {importer}, has no file under {root}; allowed: a module of "
            f"{', '.join(PACKAGES)}; remedy: correct the name, or add the file (a folder needs __init__.py)"
        )
    return path
