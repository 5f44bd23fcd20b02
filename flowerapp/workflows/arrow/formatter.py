"""From a tree to text in one form, which reads as the same tree.

A statement stands on a line of its own; one that is too long is broken before its arrows, and a subflow with several
statements or a comment is a block. Literals that were read from a text stay as they were written. A comment stays
before or behind the statement at which it stands; one in the midst of a statement moves to the line before it. One
blank line between statements stays.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import zip_longest

from flowerapp.workflows.arrow.declarations import FLOW
from flowerapp.workflows.arrow.lexer import BLANKS, spans
from flowerapp.workflows.arrow.parser import parse
from flowerapp.workflows.arrow.syntax import (
    Declaration,
    Destination,
    Document,
    Item,
    Label,
    Literal,
    Resource,
    Source,
    Statement,
    Step,
    Subflow,
    Task,
    TaskList,
)
from flowerapp.workflows.arrow.written import literal_text

WIDTH = 100
"""Most characters of a line with a statement that can be broken."""
INDENT = "    "
ARROW = " → "


def format_text(text: str) -> str:
    """A text in the arrow language in one form; raises ArrowError as ``parse`` does."""
    return format_document(parse(text))


def format_document(document: Document) -> str:
    """The text of a tree."""
    return Formatter(Trivia(document.text)).items(document.items, 0, len(document.text), "")


@dataclass(slots=True)
class Trivia:
    """What the tree of a text does not have: comments, blank lines, and where tokens end."""

    text: str
    comments: list[tuple[int, int]] = field(default_factory=list)
    """Start and end of each."""
    tokens: list[tuple[int, int]] = field(default_factory=list)

    def __post_init__(self) -> None:
        for kind, start, end in spans(self.text):
            (self.comments if kind == "COMMENT" else self.tokens).append((start, end))

    def between(self, start: int, end: int) -> list[tuple[int, int]]:
        """The comments that begin in this part of the text."""
        return self.comments[bisect_left(self.comments, (start, 0)) : bisect_left(self.comments, (end, 0))]

    def end_before(self, position: int) -> int:
        """Where the last token ends that begins before ``position``."""
        index = bisect_left(self.tokens, (position, 0))
        return self.tokens[index - 1][1] if index else 0

    def same_line(self, start: int, end: int) -> bool:
        """Whether no line ends in this part of the text."""
        return self.text.find("\n", start, end) < 0

    def blank_line_before(self, position: int) -> bool:
        """Whether the line before that of ``position`` is blank."""
        start = position
        while start and self.text[start - 1] in BLANKS:
            start -= 1
        return start > 0 and self.text.count("\n", start, position) > 1

    def comment(self, span: tuple[int, int]) -> str:
        """The text of a comment."""
        return self.text[slice(*span)].rstrip()


@dataclass(slots=True)
class Formatter:
    """Writes the parts of a tree."""

    trivia: Trivia

    def items(self, items: Sequence[Item], start: int, end: int, indent: str) -> str:
        """Statements and declarations between two places of the text, each on lines of its own."""
        lines: list[str] = []
        for item, following in zip_longest(items, items[1:]):
            limit = following.position if following else end
            item_end = self.trivia.end_before(limit)
            outer = self._outside_subflows(item, item_end)
            before = [*self.trivia.between(start, item.position), *outer]
            self._before(lines, before, item, indent)
            text = self._item(item, indent) + (";" if following and _needs_semicolon(item, following) else "")
            start = item_end
            behind = self.trivia.between(item_end, limit)
            if behind and self.trivia.same_line(item_end, behind[0][0]):
                text += f"  {self.trivia.comment(behind[0])}"
                start = behind[0][1]
            lines.append(f"{indent}{text}\n")
        lines += [f"{indent}{self.trivia.comment(span)}\n" for span in self.trivia.between(start, end)]
        return "".join(lines)

    def _before(self, lines: list[str], comments: list[tuple[int, int]], item: Item, indent: str) -> None:
        """The comments before an item, and the blank lines before them."""
        for span in comments:
            if lines and span[0] < item.position and self.trivia.blank_line_before(span[0]):
                lines.append("\n")
            lines.append(f"{indent}{self.trivia.comment(span)}\n")
        if lines and self.trivia.blank_line_before(item.position):
            lines.append("\n")

    def _outside_subflows(self, item: Item, end: int) -> list[tuple[int, int]]:
        """The comments in an item that are not in its subflows."""
        comments, start = [], item.position
        for subflow in _subflows(item):
            comments += self.trivia.between(start, subflow.position)
            start = subflow.end
        return [*comments, *self.trivia.between(start, end)]

    def _item(self, item: Item, indent: str) -> str:
        return self._declaration(item, indent) if isinstance(item, Declaration) else self._statement(item, indent)

    def _declaration(self, item: Declaration, indent: str) -> str:
        parts = [f"@{item.kind} {item.name}"]
        parts += [f"= {item.alias}"] if item.alias is not None else []
        parts += [literal_text(item.parameters, "(")] if item.parameters else []
        parts += [_doc(item.doc)] if item.doc is not None else []
        parts += [self._subflow(item.subflow, indent)] if item.subflow else []
        return " ".join(parts)

    def _statement(self, item: Statement, indent: str) -> str:
        parts = [_source(item.source)] if item.source else []
        parts += [self._step(step, indent) for step in item.steps]
        parts += [_destination(item.destination)] if item.destination else []
        line = ARROW.join(parts)
        if len(indent) + len(line) <= WIDTH or "\n" in line:
            return line
        return f"\n{indent}{INDENT}→ ".join(parts)

    def _step(self, step: Step, indent: str) -> str:
        parts = [f":{step.input_label.name}"] if step.input_label else []
        parts += [">"] if step.merge else ["*"] if step.each else []
        parts += [f"? `{step.guard.text}`"] if step.guard else []
        parts.append(self._body(step.body, indent))
        parts += [f":{step.output_label.name}"] if step.output_label else []
        return " ".join(parts)

    def _body(self, body: Task | TaskList | Subflow, indent: str) -> str:
        if isinstance(body, Subflow):
            return self._subflow(body, indent)
        return " | ".join(map(_task, body.tasks)) if isinstance(body, TaskList) else _task(body)

    def _subflow(self, subflow: Subflow, indent: str) -> str:
        """``{ A → B }``, or a block."""
        inner = indent + INDENT
        if len(subflow.statements) > 1 or self.trivia.between(subflow.position, subflow.end):
            return f"{{\n{self.items(subflow.statements, subflow.position, subflow.end, inner)}{indent}}}"
        line = self._statement(subflow.statements[0], inner)
        if "\n" not in line and len(inner) + len(line) <= WIDTH:
            return f"{{ {line} }}"
        return f"{{\n{inner}{line}\n{indent}}}"


def _subflows(item: Item) -> Iterator[Subflow]:
    if isinstance(item, Declaration):
        yield from [item.subflow] if item.subflow else []
    else:
        yield from (step.body for step in item.steps if isinstance(step.body, Subflow))


def _needs_semicolon(item: Item, following: Item) -> bool:
    """Whether the parser would read the beginning of ``following`` as a part of ``item``."""
    if isinstance(following, Declaration):
        return False
    if isinstance(item, Declaration):
        return item.kind != FLOW and item.subflow is None and _first_sign(following) == "{"
    ends_with_label = item.destination is not None and isinstance(item.destination.target, Label)
    return ends_with_label or _first_sign(following) == ":"


def _first_sign(item: Statement) -> str:
    """The sign that a statement begins with, as far as it matters."""
    if item.source is not None:
        return ":" if isinstance(item.source, Label) else ""
    step = item.steps[0]
    if step.input_label:
        return ":"
    plain = not (step.merge or step.each or step.guard)
    return "{" if plain and isinstance(step.body, Subflow) else ""


def _task(task: Task) -> str:
    return task.name + (literal_text(task.parameters, "(") if task.parameters else "")


def _source(source: Source) -> str:
    if isinstance(source, Literal):
        return literal_text(source, "<")
    return f":{source.name}" if isinstance(source, Label) else _resource(source)


def _destination(destination: Destination) -> str:
    target = destination.target
    text = f":{target.name}" if isinstance(target, Label) else _resource(target)
    return f"> {text}" if destination.merge else text


def _resource(resource: Resource) -> str:
    return f"<{resource.uri}>" + (literal_text(resource.parameters, "(") if resource.parameters else "")


def _doc(doc: str) -> str:
    quotes = '"""' if "'''" in doc or doc.endswith("'") else "'''"
    return f"{quotes}{doc}{quotes}"
