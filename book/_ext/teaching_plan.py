"""What lecturers need of the labs, made from the labs.

``{leaklab-labs}`` is the table of all of them, ``{leaklab-needs}`` the picture of which needs
which, ``{leaklab-outcomes}`` what each teaches, and ``{leaklab-plan} name`` a plan of
book/plans.yml with the hours of its labs.
"""

from __future__ import annotations

import sys
from pathlib import Path

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tools"))

import course  # noqa: E402
import needs_graph  # noqa: E402


class FromLabs(SphinxDirective):
    """A directive that is run again when a lab's text, the times or the plans change."""

    def labs(self) -> list[course.LabNeeds]:
        for name in ("book/lab_times.yml", "book/plans.yml"):
            self.env.note_dependency(str(ROOT / name))
        for text in (ROOT / "notebooks/text").glob("[0-9][0-9]_*.md"):
            self.env.note_dependency(str(text))
        return course.read_labs()


class Labs(FromLabs):
    """The table of labs."""

    def run(self) -> list[nodes.Node]:
        return self.parse_text_to_nodes(course.labs_table(self.labs(), course.read_times()))


class Outcomes(FromLabs):
    """What each lab teaches."""

    def run(self) -> list[nodes.Node]:
        return self.parse_text_to_nodes(course.outcomes_list(self.labs()))


class Needs(FromLabs):
    """The picture of prerequisites."""

    def run(self) -> list[nodes.Node]:
        def address(slug: str) -> str:
            return self.env.app.builder.get_relative_uri(self.env.docname, f"notebooks/{slug}")

        return [nodes.raw("", needs_graph.draw(self.labs(), address), format="html")]


class Plan(FromLabs):
    """One plan, by its name."""

    required_arguments = 1

    def run(self) -> list[nodes.Node]:
        plans, name = course.read_plans(), self.arguments[0]
        if name not in plans:
            raise self.error(f"plan: {name!r} given, expected one of {sorted(plans)}")
        return self.parse_text_to_nodes(course.plan_table(plans[name], self.labs()))


def setup(app: Sphinx) -> dict[str, object]:
    app.add_directive("leaklab-labs", Labs)
    app.add_directive("leaklab-needs", Needs)
    app.add_directive("leaklab-outcomes", Outcomes)
    app.add_directive("leaklab-plan", Plan)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
