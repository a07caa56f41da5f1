"""The reference of the library: what is public, said by its docstrings, shown by its examples.

A module is public that has a section in a file of ``book/examples``; of it, the names in
``__all__``. ``{leaklab-api} data`` sets the modules of ``book/examples/data.txt``: a table of their
names, then each with signature, docstring and example. The examples are doctests, which
``tests/test_api.py`` runs, in files of their own: chapters list functions with their docstrings.

    >>> import torch                   lines that all examples of the file start from
    # leaklab.updates
    >>> from leaklab import updates    lines that the examples of this module start from
    ## View
    >>> updates.View(...)              the example of this name
"""

from __future__ import annotations

import functools
import importlib
import inspect
import re
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.pycode import ModuleAnalyzer
from sphinx.util.docutils import SphinxDirective

EXAMPLES = Path(__file__).resolve().parents[1] / "examples"
FOR_USERS = re.compile(
    r"(Threat model|Against whom|What it holds against|What it does not do|Sources?|"
    r"Where (it fails|they fail)):|(?s:.*)(arXiv|doi):")


@dataclass(frozen=True)
class Examples:
    """Of one ``module``: the lines that all start from, and an example for each name."""

    module: str
    start: str
    of: dict[str, str]


@dataclass(frozen=True)
class Group:
    """One file: the lines that all its examples start from, and its modules in order."""

    start: str
    modules: list[Examples]


def read_examples(text: str) -> Group:
    """The examples in ``text``; raises ``ValueError`` for a name given twice in a section."""
    start, *sections = re.split(r"^# ", text, flags=re.MULTILINE)
    found = []
    for section in sections:
        opening, *parts = re.split(r"^## ", section, flags=re.MULTILINE)
        module, _, own = opening.partition("\n")
        pairs = [part.partition("\n")[::2] for part in parts]
        if len(dict(pairs)) < len(pairs):
            raise ValueError(f"{module}: {[n for n, _ in pairs]} given, expected each name once")
        found.append(Examples(module, own.strip(), {n: e.strip() for n, e in pairs}))
    return Group(start.strip(), found)


@functools.cache
def groups() -> dict[str, Group]:
    """The files of ``book/examples``, by the stem of their names."""
    return {file.stem: read_examples(file.read_text(encoding="utf-8"))
            for file in sorted(EXAMPLES.glob("*.txt"))}


def docstring(module: ModuleType, name: str) -> str:
    """What is written of ``name``: in its own docstring, or below the constant."""
    thing = getattr(module, name)
    if callable(thing):
        return inspect.getdoc(thing) or ""
    lines = ModuleAnalyzer.for_module(module.__name__).find_attr_docs().get(("", name), [])
    return "\n".join(lines).strip()


def first_sentence(text: str) -> str:
    """The first sentence of a docstring, on one line; of a short one, all."""
    paragraph = " ".join(text.partition("\n\n")[0].split())
    return re.split(r"(?<=[.?!])\s+(?=[A-Z`:])", paragraph)[0]


def about(module: ModuleType) -> list[str]:
    """Of a module's docstring: what it does, for whom it is, where it is from, where it fails."""
    first, *others = (inspect.getdoc(module) or "").split("\n\n")
    return [first, *filter(FOR_USERS.match, others)]


def directive(module: ModuleType, name: str) -> str:
    """How ``name`` is set, in reStructuredText."""
    thing = getattr(module, name)
    if inspect.isclass(thing):
        return (f".. autoclass:: {module.__name__}.{name}\n   :members:\n"
                "   :exclude-members: model_config\n")
    kind = "autofunction" if callable(thing) else "autodata"
    return f".. {kind}:: {module.__name__}.{name}\n"


def block(example: str) -> str:
    return ".. code-block:: pycon\n\n" + "".join(f"   {line}\n" for line in example.splitlines())


def table(modules: list[Examples]) -> str:
    """Names and first sentences of all ``modules``, in reStructuredText."""
    rows = ""
    for part in modules:
        module = importlib.import_module(part.module)
        short = part.module.rpartition(".")[2]
        for name in part.of:
            rows += (f"   * - :py:obj:`{short}.{name} <{part.module}.{name}>`\n"
                     f"     - {first_sentence(docstring(module, name))}\n")
    return (".. list-table::\n   :widths: 35 65\n   :header-rows: 1\n\n"
            "   * - Name\n     - What it is\n" + rows)


def before_modules(group: Group) -> str:
    """What a group begins with, in reStructuredText."""
    if not group.start:
        return table(group.modules)
    return f"{table(group.modules)}\nThe examples of this part start from:\n\n{block(group.start)}"


def of_module(part: Examples) -> str:
    """A module of a group, in reStructuredText."""
    module = importlib.import_module(part.module)
    text = about(module)
    if part.start:
        text += ["Its examples start from:", block(part.start)]
    return "\n\n".join(text + [directive(module, name) for name in part.of])


class Api(SphinxDirective):
    """One group of public modules, a section each."""

    required_arguments = 1

    def run(self) -> list[nodes.Node]:
        name = self.arguments[0]
        self.env.note_dependency(str(EXAMPLES / f"{name}.txt"))
        group = groups()[name]
        found = self.parsed(before_modules(group))
        for part in group.modules:
            label = nodes.make_id(f"{name}-{part.module}")
            title = part.module.removeprefix("leaklab.")
            section = nodes.section("", nodes.title(title, title), ids=[label], names=[label])
            section += self.parsed(of_module(part))
            found.append(section)
        return found

    def parsed(self, rst: str) -> list[nodes.Node]:
        """Docstrings are reStructuredText, and the page around them is Markdown."""
        return self.parse_text_to_nodes(f"``````{{eval-rst}}\n{rst}\n``````\n")


def add_example(app, what, name, thing, options, lines: list[str]) -> None:
    """Set the example of ``name`` below its docstring."""
    for group in groups().values():
        for part in group.modules:
            if example := part.of.get(name.removeprefix(f"{part.module}.")):
                lines += ["", *block(example).splitlines(), ""]


def written_signature(app, what, name, thing, options, signature, returns):
    """A signature that can be read: names of defaults, and of a pydantic model no validators."""
    fields = getattr(thing, "model_fields", None)
    if what != "class" or not fields:
        named = re.sub(r"<function (\w+)[^>]*>", r"\1", signature or "")
        return named.replace("<factory>", "...") or None, returns
    types = {name: re.sub(r"Annotated\[(.+), Field\(.*\)\]", r"\1", written)
             for name, written in thing.__annotations__.items()}
    given = [f"{name}: {types[name]}" + ("" if field.is_required() else f" = {field.default!r}")
             for name, field in fields.items()]
    return f"(*, {', '.join(given)})", returns


def plain(app, env, node, written):
    """A name of Python that is not on the page is set as it is written."""
    return written if node.get("refdomain") == "py" else None


def setup(app: Sphinx) -> dict[str, object]:
    app.add_directive("leaklab-api", Api)
    app.connect("autodoc-process-docstring", add_example)
    app.connect("autodoc-process-signature", written_signature)
    app.connect("missing-reference", plain)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
