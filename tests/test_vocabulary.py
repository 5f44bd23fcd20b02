"""Holds the repository to ``docs/glossary.md``: names that are not used, and phrases that are not written.

``python -m tests.test_vocabulary`` prints every hit with its file and line.
"""

from __future__ import annotations

import ast
import io
import re
import sys
import tokenize
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fnmatch import fnmatch
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
GLOSSARY = ROOT / "docs" / "glossary.md"
NAMES, PHRASES = "## Names that are not used", "## Phrases that are not written"
"""Headings of the two tables."""
PHRASE = "phrase"
KINDS = ("module", "class", "function", "variable", "column", "setting")
"""Kinds of names, as the glossary's table writes them."""

PYTHON = ("manage.py", "flowerapp/**/*.py", "project/**/*.py", "tests/**/*.py", "benchmarks/**/*.py")
DOCUMENTS = ("*.md", "docs/**/*.md", "tests/**/*.md", "benchmarks/**/*.md", ".github/**/*.md")
PAGES = ("flowerapp/templates/**/*", "flowerapp/static/**/*", "templates/**/*")
COMMENTED = ("Dockerfile", "docker-compose.yml", "Makefile", ".ci/run", "pyproject.toml", ".pre-commit-config.yaml")
EXEMPT = {
    "docs/glossary.md": "it lists what it forbids",
    "tests/test_vocabulary.py": "it plants what it looks for",
    "tests/db/test_migrations.py": "it makes rows under the names before the renames",
    "flowerapp/migrations/000[1-6]_*.py": "old migrations name the columns of their time",
}
"""Files that are not read, each with the reason."""


@dataclass(frozen=True, slots=True)
class Hit:
    """A name or phrase that the glossary forbids, and where it stands."""

    path: str
    line: int
    kind: str
    text: str

    def __str__(self) -> str:
        return f"{self.path}:{self.line}: {self.kind} {self.text!r}, use: {_instead(self.kind, self.text)}"


@dataclass(frozen=True, slots=True)
class Allowed:
    """A hit that stays."""

    path: str
    """A pattern of paths."""
    kind: str
    text: str
    reason: str

    def covers(self, hit: Hit) -> bool:
        """Whether a hit is meant by it."""
        return (self.kind, self.text) == (hit.kind, hit.text) and fnmatch(hit.path, self.path)


ALLOWED = [
    Allowed("flowerapp/querysets/flows.py", "function", "settle", "of a flow"),
    Allowed("flowerapp/engine/propagation.py", "function", "settle", "of a flow"),
    Allowed("flowerapp/workflows/arrow/*.py", "variable", "each", "a step runs once for each item; YAML says each too"),
    Allowed("flowerapp/engine/children.py", "class", "Child", "the child of a task, not of a process"),
]
"""Further exceptions, each with its reason."""

Tables = dict[str, dict[str, str]]
"""Kind → what is not used or written → what to use instead."""


# The glossary


@cache
def tables() -> Tables:
    """The two tables of the glossary."""
    return read_tables(GLOSSARY.read_text(encoding="utf-8"))


def read_tables(text: str) -> Tables:
    """The tables of a glossary; raises ValueError for a kind that is unknown."""
    forbidden: Tables = {kind: {} for kind in (*KINDS, PHRASE)}
    for terms, kinds, instead in _rows(text, NAMES):
        for kind in kinds.split(", "):
            if kind not in KINDS:
                raise ValueError(f"the glossary names an unknown kind {kind!r}")
            forbidden[kind] |= dict.fromkeys(_terms(terms), instead)
    for terms, instead in _rows(text, PHRASES):
        forbidden[PHRASE] |= dict.fromkeys(_terms(terms), instead)
    return forbidden


def _rows(text: str, heading: str) -> list[list[str]]:
    """The cells of the table under a heading, without its head."""
    section = text.partition(f"{heading}\n")[2].partition("\n## ")[0]
    lines = [line for line in section.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[2:]]


def _terms(cell: str) -> list[str]:
    return re.findall(r"`([^`]+)`", cell)


def _instead(kind: str, text: str) -> str:
    return tables()[kind].get(text, "")


# What is looked at


@dataclass(frozen=True, slots=True)
class Prose:
    """A piece of text, and the line on which it starts."""

    text: str
    line: int


def phrases(path: str, pieces: Iterator[Prose]) -> Iterator[Hit]:
    """The forbidden phrases in pieces of text."""
    for piece in pieces:
        for match in _phrase_pattern().finditer(piece.text):
            line = piece.line + piece.text.count("\n", 0, match.start())
            yield Hit(path, line, PHRASE, " ".join(match.group().lower().split()))


@cache
def _phrase_pattern() -> re.Pattern[str]:
    """Any of the phrases, also across a line's end."""
    forms = (r"\s+".join(map(re.escape, phrase.split())) for phrase in tables()[PHRASE])
    return re.compile(rf"\b(?:{'|'.join(forms)})\b", re.IGNORECASE)


def in_python(path: str, source: str) -> Iterator[Hit]:
    """The hits in a module."""
    tree = ast.parse(source)
    yield from _named(path, 1, "module", Path(path).stem)
    for node in ast.walk(tree):
        for kind, name in _names(node):
            yield from _named(path, getattr(node, "lineno", 1), kind, name)
    yield from phrases(path, _comments(source))
    yield from phrases(path, _strings(tree))
    yield from phrases(path, _function_names(tree))


def _named(path: str, line: int, kind: str, name: str) -> Iterator[Hit]:
    if name in tables()[kind]:
        yield Hit(path, line, kind, name)


def _names(node: ast.AST) -> Iterator[tuple[str, str]]:
    """Kind and name of each name that a node makes or, for columns and settings, uses."""
    for node_type, names in _BY_TYPE.items():
        if isinstance(node, node_type):
            yield from names(node)


def _of_class(node: ast.ClassDef) -> Iterator[tuple[str, str]]:
    yield "class", node.name
    for statement in node.body:
        for target in _targets(statement):
            if _is_field(getattr(statement, "value", None)):
                yield "column", target
            if node.name == "Settings":
                yield "setting", target


def _of_function(node: ast.FunctionDef | ast.AsyncFunctionDef) -> Iterator[tuple[str, str]]:
    yield "function", node.name


def _of_argument(node: ast.arg) -> Iterator[tuple[str, str]]:
    yield "variable", node.arg


def _of_keyword(node: ast.keyword) -> Iterator[tuple[str, str]]:
    if node.arg is not None:
        yield "column", node.arg
        yield "setting", node.arg


def _of_name(node: ast.Name) -> Iterator[tuple[str, str]]:
    if isinstance(node.ctx, ast.Store):
        yield "variable", node.id


def _of_attribute(node: ast.Attribute) -> Iterator[tuple[str, str]]:
    yield "column", node.attr
    yield "setting", node.attr
    if isinstance(node.ctx, ast.Store):
        yield "variable", node.attr


def _of_module(node: ast.Module) -> Iterator[tuple[str, str]]:
    for statement in node.body:
        for target in _targets(statement):
            yield "setting", target


def _of_constant(node: ast.Constant) -> Iterator[tuple[str, str]]:
    """A string that is the name of a column or setting, or SQL that uses columns."""
    if isinstance(node.value, str):
        words = re.findall(r"\w+", node.value) if _is_sql(node.value) else [node.value]
        for word in words:
            yield "column", word
            yield "setting", word


_BY_TYPE: dict[type[ast.AST] | tuple[type[ast.AST], ...], Callable[..., Iterator[tuple[str, str]]]] = {
    ast.ClassDef: _of_class,
    (ast.FunctionDef, ast.AsyncFunctionDef): _of_function,
    ast.arg: _of_argument,
    ast.keyword: _of_keyword,
    ast.Name: _of_name,
    ast.Attribute: _of_attribute,
    ast.Module: _of_module,
    ast.Constant: _of_constant,
}


def _targets(statement: ast.stmt) -> list[str]:
    targets = statement.targets if isinstance(statement, ast.Assign) else [getattr(statement, "target", None)]
    return [target.id for target in targets if isinstance(target, ast.Name)]


def _is_field(value: ast.expr | None) -> bool:
    """Whether an expression makes a field of a model."""
    name = ast.unparse(value.func) if isinstance(value, ast.Call) else ""
    return name.endswith(("Field", "ForeignKey"))


def _is_sql(text: str) -> bool:
    return bool(re.search(r"\b(?:SELECT|UPDATE|INSERT INTO|DELETE FROM|WHERE|CASE WHEN)\b", text))


def _comments(source: str) -> Iterator[Prose]:
    """Comments; those on lines that follow each other are one piece."""
    block: list[str] = []
    first = last = 0
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type != tokenize.COMMENT:
            continue
        line = token.start[0]
        if block and line != last + 1:
            yield Prose("\n".join(block), first)
            block = []
        first = first if block else line
        last = line
        block.append(token.string.lstrip("#: "))
    if block:
        yield Prose("\n".join(block), first)


def _strings(tree: ast.AST) -> Iterator[Prose]:
    """Docstrings, messages and all other strings."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield Prose(node.value, node.lineno)


def _function_names(tree: ast.AST) -> Iterator[Prose]:
    """Names of functions as sentences: those of tests state behavior."""
    for node in ast.walk(tree):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            yield Prose(node.name.replace("_", " "), node.lineno)


def in_document(path: str, text: str) -> Iterator[Hit]:
    """The hits in a document: phrases, and columns and settings in ``code``; the changelog may say what they were."""
    yield from phrases(path, iter([Prose(re.sub(r"`[^`\n]+`", "``", text), 1)]))
    if path == "CHANGELOG.md":
        return
    for match in re.finditer(r"`(\w+)`", text):
        line = text.count("\n", 0, match.start()) + 1
        for kind in ("column", "setting"):
            yield from _named(path, line, kind, match.group(1))


def in_page(path: str, text: str) -> Iterator[Hit]:
    """The phrases of a template, a script or a style sheet; tags keep their lines."""
    bare = re.sub(r"\{[{%].*?[%}]\}", lambda tag: "\n" * tag.group().count("\n"), text, flags=re.DOTALL)
    yield from phrases(path, iter([Prose(bare, 1)]))


def in_comments(path: str, text: str) -> Iterator[Hit]:
    """The phrases of comments that begin with a number sign."""
    lines = (line.partition("#")[2] for line in text.splitlines())
    yield from phrases(path, iter([Prose("\n".join(lines), 1)]))


READERS: list[tuple[tuple[str, ...], Callable[[str, str], Iterator[Hit]]]] = [
    (PYTHON, in_python),
    (DOCUMENTS, in_document),
    (PAGES, in_page),
    (COMMENTED, in_comments),
]
"""Patterns of files, and what reads them."""


@cache
def hits() -> tuple[Hit, ...]:
    """All hits of the repository, exceptions among them."""
    return tuple(hit for patterns, reader in READERS for path in _paths(patterns) for hit in _read(path, reader))


def _read(path: Path, reader: Callable[[str, str], Iterator[Hit]]) -> Iterator[Hit]:
    name = path.relative_to(ROOT).as_posix()
    if not any(fnmatch(name, pattern) for pattern in EXEMPT):
        yield from reader(name, path.read_text(encoding="utf-8"))


def _paths(patterns: tuple[str, ...]) -> list[Path]:
    matches = {path for pattern in patterns for path in ROOT.glob(pattern)}
    return sorted(path for path in matches if path.is_file() and "__pycache__" not in path.parts)


def violations() -> list[Hit]:
    """The hits that no exception covers."""
    return sorted(
        (hit for hit in hits() if not any(allowed.covers(hit) for allowed in ALLOWED)),
        key=lambda hit: (hit.path, hit.line, hit.text),
    )


# The tests


@pytest.mark.parametrize("kind", [*KINDS, PHRASE])
def test_the_glossary_is_held(kind: str) -> None:
    mine = [str(hit) for hit in violations() if hit.kind == kind]
    assert not mine, "\n".join([f"{len(mine)} hits", *mine])


@pytest.mark.parametrize("allowed", ALLOWED, ids=lambda allowed: f"{allowed.path} {allowed.text}")
def test_an_exception_is_needed(allowed: Allowed) -> None:
    assert any(allowed.covers(hit) for hit in hits())


def test_each_kind_has_entries() -> None:
    assert all(tables()[kind] for kind in (*KINDS, PHRASE))


def test_an_unknown_kind_is_refused() -> None:
    with pytest.raises(ValueError, match="unknown kind 'verb'"):
        read_tables(f"{NAMES}\n\n| a | b | c |\n|---|---|---|\n| `x` | verb | y |\n")


PLANTED = [
    ("flowerapp/slices.py", "", ("module", "slices")),
    ("a.py", "class Slice: ...", ("class", "Slice")),
    ("a.py", "def hand_over(): ...", ("function", "hand_over")),
    ("a.py", "class A:\n    async def tell(self): ...", ("function", "tell")),
    ("a.py", "def f(given): ...", ("variable", "given")),
    ("a.py", "def f(*, told=1): ...", ("variable", "told")),
    ("a.py", "found: int = 1", ("variable", "found")),
    ("a.py", "x = [each for each in y]", ("variable", "each")),
    ("a.py", "self.known = 1", ("variable", "known")),
    ("a.py", "class A(Model):\n    owed = models.IntegerField()", ("column", "owed")),
    ("a.py", "rows.filter(left_over=True)", ("column", "left_over")),
    ("a.py", "print(task.copied)", ("column", "copied")),
    ("a.py", 'x = "left_over"', ("column", "left_over")),
    ("a.py", 'x = f"UPDATE kr_task_stat SET left_over = {value}"', ("column", "left_over")),
    ("a.py", 'FLOWER = {"TIME_SLICE": 1}', ("setting", "TIME_SLICE")),
    ("a.py", "class Settings:\n    TIME_SLICE: float = 1", ("setting", "TIME_SLICE")),
    ("a.py", "PATIENCE = 3", ("setting", "PATIENCE")),
    ("a.py", '"""It goes on."""', (PHRASE, "goes on")),
    ("a.py", "x = 1  # Nobody is here", (PHRASE, "nobody")),
    ("a.py", "# what is left\n# over", (PHRASE, "left over")),
    ("a.py", 'raise Error(f"{name} is told")', (PHRASE, "is told")),
    ("a.py", "def test_it_goes_on(): ...", (PHRASE, "goes on")),
    ("a.py", '"""A colour."""', (PHRASE, "colour")),
]


@pytest.mark.parametrize(("path", "source", "expected"), PLANTED)
def test_what_is_planted_in_python_is_noticed(path: str, source: str, expected: tuple[str, str]) -> None:
    assert expected in {(hit.kind, hit.text) for hit in in_python(path, source)}


@pytest.mark.parametrize(
    "source",
    [
        "outcome.finished",
        "class A:\n    timed_out: bool",
        "x = given",
        '"""The flow runs until another one ends."""',
        "def released(): ...",
        'x = "a left_over b"',
        "from x import Event",
    ],
)
def test_what_only_uses_a_name_is_left_alone(source: str) -> None:
    assert not list(in_python("a.py", source))


@pytest.mark.parametrize(
    ("reader", "text", "expected"),
    [
        (in_document, "a\nb goes\non", (2, "goes on")),
        (in_document, "a\n\n`TIME_SLICE`", (3, "TIME_SLICE")),
        (in_page, "{% if\nx %}\n<p>nobody</p>", (3, "nobody")),
        (in_comments, "RUN x\nCOPY y  # mended", (2, "mended")),
    ],
)
def test_what_is_planted_elsewhere_is_noticed(
    reader: Callable[[str, str], Iterator[Hit]], text: str, expected: tuple[int, str]
) -> None:
    assert [(hit.line, hit.text) for hit in reader("a", text)] == [expected]


def test_the_changelog_may_say_what_a_setting_was_called() -> None:
    assert not list(in_document("CHANGELOG.md", "`TIME_SLICE` `owed`"))


if __name__ == "__main__":
    sys.stdout.writelines(f"{hit}\n" for hit in violations())
