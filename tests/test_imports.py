"""The import walk, and the layers: theory imports neither synthetic nor imagenet, which never import each other."""

import pytest

from theory.imports import PACKAGES, ROOT, code_digest, project_files


def _tree(root, files):
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return root


EVERY_FORM = {
    "theory/__init__.py": "from theory import base",
    "theory/base.py": "",
    "theory/plain.py": "import numpy, theory.deep.leaf",
    "theory/deep/__init__.py": "",
    "theory/deep/leaf.py": "from .. import sibling\nfrom . import twig\nfrom .twig import name",
    "theory/deep/twig.py": "name = 1",
    "theory/sibling.py": "def f():\n    from theory.hidden import name",
    "theory/hidden.py": "from theory import member, value",
    "theory/member.py": "import theory.hidden  # a cycle",
    "theory/unused.py": "",
    "synthetic/__init__.py": "",
    "synthetic/top.py": "import theory.plain as plain",
}


def test_every_form_of_import_is_followed(tmp_path):
    """BITE: dropping node.level, functions, packages' __init__ or `from package import module` loses a file."""
    root = _tree(tmp_path, EVERY_FORM)
    assert project_files("synthetic.top", root=root) == sorted(set(EVERY_FORM) - {"theory/unused.py"})


def test_several_modules_give_the_union(tmp_path):
    root = _tree(tmp_path, EVERY_FORM)
    assert project_files("theory.unused", "theory.deep.twig", root=root) == [
        "theory/__init__.py",
        "theory/base.py",
        "theory/deep/__init__.py",
        "theory/deep/twig.py",
        "theory/unused.py",
    ]


@pytest.mark.parametrize("module", ["theory.missing", "numpy", "synthetic.wrong"])
def test_a_module_without_a_file_is_an_error(tmp_path, module):
    root = _tree(tmp_path, {**EVERY_FORM, "synthetic/wrong.py": "import theory.missing"})
    with pytest.raises(ModuleNotFoundError, match=r"'.*', imported by .* has no file .*; allowed: .*; remedy: "):
        project_files(module, root=root)


def _modules(package, root):
    return [".".join(path.relative_to(root).with_suffix("").parts) for path in sorted((root / package).rglob("*.py"))]


def _breaches(root):
    """Pairs (module, file of a package that its layer must not touch)."""
    forbidden = {"theory": ("synthetic", "imagenet"), "synthetic": ("imagenet",), "imagenet": ("synthetic",)}
    return [
        (module, file)
        for package in PACKAGES
        for module in _modules(package, root)
        for file in project_files(module.removesuffix(".__init__"), root=root)
        if file.partition("/")[0] in forbidden[package]
    ]


def test_layers():
    assert all(_modules(package, ROOT) for package in PACKAGES)
    assert _breaches(ROOT) == []


def test_the_layer_test_bites(tmp_path):
    files = {**EVERY_FORM, "imagenet/__init__.py": "", "imagenet/data.py": "def f():\n    from synthetic import top"}
    assert ("imagenet.data", "synthetic/top.py") in _breaches(_tree(tmp_path / "a", files))
    files = {**EVERY_FORM, "theory/unused.py": "import synthetic"}
    assert _breaches(_tree(tmp_path / "b", files)) == [("theory.unused", "synthetic/__init__.py")]


@pytest.mark.parametrize(
    ("text", "same"),
    [
        ('"""Another text."""\n\ndef f(x):\n    # why\n    return (x + 1)\n', True),
        ("def f(x):\n    'what it gives'\n    return x + 1\n", True),
        ('"""Doc."""\ndef f(x):\n    return x + 2\n', False),
        ('"""Doc."""\ndef f(x):\n    return x + 1\n\n"text that is no docstring"\n', False),
    ],
)
def test_the_digest_of_code_sees_what_it_does_alone(tmp_path, text, same):
    (tmp_path / "before.py").write_text('"""Doc."""\n\n\ndef f(x):\n    return x + 1\n')
    before = code_digest(["before.py"], tmp_path)
    (tmp_path / "before.py").write_text(text)
    assert (code_digest(["before.py"], tmp_path) == before) == same


def test_the_digest_of_code_knows_the_files_and_their_order(tmp_path):
    for name in ("a.py", "b.py"):
        (tmp_path / name).write_text("x = 1\n")
    digests = {code_digest(files, tmp_path) for files in (["a.py"], ["b.py"], ["a.py", "b.py"], ["b.py", "a.py"])}
    assert len(digests) == 4
