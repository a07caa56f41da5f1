"""The context as a form of widgets, for those who do not want to write Python.

It starts from a context and gives one back, checked like any other. Needs ``leaklab[labs]``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from html import escape
from typing import get_args

import ipywidgets as widgets
from pydantic import ValidationError

from leaklab.assess.worksheet.inputs import Context, Guarantee
from leaklab.assess.worksheet.terms import Category, Unit

WIDE = widgets.Layout(width="36em")
LABELLED = {"description_width": "12em"}


@dataclass(frozen=True)
class Form:
    """A form to display, as ``box``; ``read()`` gives the context as it is filled in now."""

    box: widgets.Widget
    fields: dict[str, widgets.Widget]
    start: Context

    def read(self) -> Context:
        """Raises ``pydantic.ValidationError``, which names the fields, where one is unfit."""
        filled = {name: field.value for name, field in self.fields.items()}
        severity = {"level": filled.pop("severity_level"), "reason": filled.pop("severity_reason")}
        said = {name: filled.pop(name) for name in ("epsilon", "delta", "unit", "accountant")}
        return Context.model_validate({**self.start.model_dump(), **filled, "severity": severity,
                                       "guarantee": self._guarantee(said)})

    def _guarantee(self, said: dict) -> dict | None:
        """What is said, or none where epsilon is left at 0; what the form does not ask stays."""
        if said["epsilon"] == 0:
            return None
        was = self.start.guarantee.model_dump() if self.start.guarantee else {}
        if (was.get("epsilon"), was.get("delta")) != (said["epsilon"], said["delta"]):
            was["mu"] = None
        return {**was, **said}


def context_form(start: Context, *, defences: Sequence[str] = (),
                 done: Callable[[Context], object] | None = None) -> Form:
    """A form that starts as ``start``, to choose among ``defences``; ``done`` gets the context.

    The button beneath says what is wrong, or hands the context to ``done`` and shows the answer.
    """
    offered = tuple(dict.fromkeys([*defences, *start.defences]))
    fields = {
        **{name: _line(name.replace("_", " "), getattr(start, name))
           for name in ("name", "purpose", "legal_basis", "gateway", "retention")},
        "categories": _several("categories of data", get_args(Category), start.categories),
        "jurisdictions": _several("jurisdictions", ("EU", "UK", "US"), start.jurisdictions),
        "hospitals": widgets.BoundedIntText(value=start.hospitals, min=1, max=10_000,
                                            description="hospitals", style=LABELLED),
        "transport": widgets.Dropdown(options=("mutual TLS", "TLS", "plain"),
                                      value=start.transport, description="transport",
                                      style=LABELLED),
        "defences": _several("defences in force", offered, start.defences),
        **_promise(start.guarantee),
        **{name: widgets.Checkbox(value=getattr(start, name), description=label, style=LABELLED)
           for name, label in (("large_scale", "on a large scale"),
                               ("relatives_considered", "relatives are considered"),
                               ("ehds_permit", "under an EHDS permit"),
                               ("medical_device", "part of a medical device"))},
        "severity_level": widgets.IntSlider(value=start.severity.level, min=1, max=4,
                                            description="severity", style=LABELLED),
        "severity_reason": _line("because", start.severity.reason),
    }
    button, said = widgets.Button(description="Assess"), widgets.HTML()
    form = Form(widgets.VBox([*fields.values(), button, said]), fields, start)
    button.on_click(lambda _: setattr(said, "value", _answer(form, done)))
    return form


def _answer(form: Form, done: Callable[[Context], object] | None) -> str:
    try:
        context = form.read()
    except ValidationError as error:
        lines = [f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors()]
        return "<p>Not assessed.</p>" + "".join(f"<p>{escape(line)}</p>" for line in lines)
    return f"<pre>{escape(str(done(context)))}</pre>" if done else "<p>Filled in.</p>"


def _promise(start: Guarantee | None) -> dict[str, widgets.Widget]:
    numbers = {name: widgets.FloatText(value=getattr(start, name, 0.0), description=label,
                                       style=LABELLED)
               for name, label in (("epsilon", "epsilon (0: none)"), ("delta", "delta"))}
    return {**numbers, "unit": widgets.Dropdown(
        options=get_args(Unit), value=start.unit if start else "record",
        description="for one", style=LABELLED),
        "accountant": _line("accountant", start.accountant if start else "not stated")}


def _line(label: str, value: str) -> widgets.Text:
    return widgets.Text(value=value, description=label, layout=WIDE, style=LABELLED)


def _several(label: str, options: Sequence[str], chosen: Sequence[str]) -> widgets.SelectMultiple:
    return widgets.SelectMultiple(options=options, value=chosen, description=label, layout=WIDE,
                                  style=LABELLED, rows=max(2, min(5, len(options))))
