"""Every error says what it found, what is allowed and what to do about it."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
KINDS = {"ValueError", "TypeError", "FileNotFoundError", "ArithmeticError"}
EXCEPTIONS = {  # file → the start of the raised expression
    "theory/ledger.py": ["prefix + "],  # each part says what is allowed
    "synthetic/user_input.py": ["'not a list of numbers'"],  # caught a line below, and told with the user's own errors
    "imagenet/table.py": ["'the row holds"],  # caught by the reader, which lists the broken images and the remedy
}


def raised(path: Path) -> list[tuple[int, str, str]]:
    """(line, expression, literal text) of the errors that are raised with a text written there."""
    found = []
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if not (isinstance(node, ast.Raise) and isinstance(node.exc, ast.Call) and ast.unparse(node.exc.func) in KINDS):
            continue
        text = "".join(
            n.value for a in node.exc.args for n in ast.walk(a) if isinstance(n, ast.Constant) and isinstance(n.value, str)
        )
        if text or not node.exc.args:  # a message made elsewhere has none here
            found.append((node.lineno, ast.unparse(node.exc.args[0]) if node.exc.args else "", text))
    return found


@pytest.mark.parametrize("package", ["theory", "synthetic", "imagenet"])
def test_every_error_says_what_is_allowed_and_the_remedy(package):
    """BITE: 105 of theory/ named no remedy, some nothing that is allowed."""
    bare = [
        f"{path.relative_to(ROOT)}:{line}: {text}"
        for path in sorted((ROOT / package).rglob("*.py"))
        for line, expression, text in raised(path)
        if not ("; allowed: " in text and "; remedy: " in text)
        and not any(expression.startswith(start) for start in EXCEPTIONS.get(path.relative_to(ROOT).as_posix(), []))
    ]
    assert not bare
    assert any(raised(path) for path in (ROOT / package).rglob("*.py"))
