"""From a chapter's built page and lab to its slides; no sentence is written for them alone.

The page gives the idea: each section's equation, table, list or box, with the sentence before it.
The lab gives the measurement: threat model, each figure and table of results, with the sentence
after it, and the control. A section's prose becomes the speaker's notes. A section without any of
these, an exercise or a thing to try gives no slide of its own.
"""

from __future__ import annotations

import html
from collections.abc import Callable
from dataclasses import dataclass

from bs4 import Tag

import slide_pages as pages

CONTROL = "Make it fail on purpose"
THREAT = "Threat model."
QUIZ = "Check what you know"
FINDINGS = ("What we learnt", "Limits", "Further reading")
NO_MEASUREMENT = ("Exercise:", "Try it yourself", *FINDINGS)
TALLEST = 14  # printed lines that a slide holds beside a sentence
FEW = 9  # printed lines that leave room for a longer lead
LONGEST = 20
"""Printed lines that a slide holds where nothing else stands for its section."""


@dataclass(frozen=True)
class Slide:
    """One slide: what it is, its title, its body and the speaker's notes, the last three HTML."""

    kind: str
    title: str
    body: str
    notes: str = ""


@dataclass(frozen=True)
class Shown:
    """What a slide shows of a section: its place among the elements, and its HTML."""

    place: int
    html: str
    is_equation: bool = False


@dataclass(frozen=True)
class Deck:
    """The slides of one chapter."""

    name: str
    title: str
    slides: tuple[Slide, ...]


def deck(name: str, page: Tag, lab: Tag) -> Deck:
    """The slides of a chapter from the articles of its page and its lab.

    Raises ``ValueError`` that names the chapter and what it lacks.
    """
    number = page.h1.select_one(".section-number")
    label = f"Chapter {number.extract().get_text().strip().rstrip('.')}" if number else ""
    title, _, claim = page.h1.get_text().strip().partition(": ")
    try:
        slides = [opening(label, title, claim, page), outcomes(page, lab), *threat_model(lab),
                  *ideas(page), *measurements(lab), *quiz(page), *endings(lab)]
    except LookupError as error:
        raise ValueError(f"{name}: {error.args[0]}") from error
    return Deck(name, title, tuple(slides))


def opening(label: str, title: str, claim: str, page: Tag) -> Slide:
    """The title, what the chapter says in its headline, and its first sentences."""
    paragraphs = before_sections(page, "p")
    subtitle = f'<p class="subtitle">{html.escape(pages.capital(claim))}</p>' if claim else ""
    above = f'<p class="label">{html.escape(label)}</p>' if label else ""
    lead = f'<p class="lead">{pages.first(pages.inner(paragraphs[0]))}</p>'
    return Slide("title", html.escape(title), above + subtitle + lead, pages.prose(paragraphs))


def outcomes(page: Tag, lab: Tag) -> Slide:
    """What students can do afterwards; the notes say what the lab needs."""
    box = next((box for box in page.select(".admonition")
                if box.p and box.p.get_text().startswith("You will be able to")), None)
    if box is None:
        raise LookupError("no box 'You will be able to' on the page, expected the outcomes")
    said = before_sections(lab, "p")
    return Slide("outcomes", "You will be able to", str(box.ul), pages.prose(said))


def threat_model(lab: Tag) -> list[Slide]:
    """Who sees what and knows what, sentence by sentence; none in a lab that attacks nothing."""
    quote = next((quote for quote in lab.select("blockquote")
                  if quote.get_text().strip().startswith(THREAT)), None)
    if quote is None:
        return []
    said = [sentence for paragraph in quote.select("p")
            for sentence in pages.sentences(pages.inner(paragraph))]
    said = [sentence for sentence in said if pages.TAG.sub("", sentence).strip() != THREAT]
    around = quote.find_parent("section").find_all("p", recursive=False)[:1]
    return [Slide("threat", "Threat model", pages.bullets(said), pages.prose(around))]


def ideas(page: Tag) -> list[Slide]:
    """The sections of the chapter's page that hold more than prose, one slide for each thing."""
    return [slide for section in sections(page) if heading(section) != QUIZ
            for slide in section_slides("idea", section, shown_of_page)]


def measurements(lab: Tag) -> list[Slide]:
    """The sections of the lab, in order, the control among them."""
    found = []
    for section in sections(lab):
        if not heading(section).startswith(NO_MEASUREMENT):
            kind = "control" if heading(section) == CONTROL else "result"
            found += section_slides(kind, section, shown_of_lab)
    if not any(slide.kind == "control" for slide in found):
        raise LookupError(f"no section '{CONTROL}' in the lab, expected the control")
    return found


def section_slides(kind: str, section: Tag,
                   shown: Callable[[list[Tag]], list[Shown]]) -> list[Slide]:
    """The slides of a section: what ``shown`` picks from it, with the prose up to the next."""
    elements, title = pages.unwrapped(section), pages.inner(section.h2)
    groups = grouped(shown(elements))
    if not groups and kind == "control":
        said = [pages.first(pages.inner(e), 160) for e in elements if e.name == "p"]
        return [Slide(kind, title, pages.bullets(said), pages.prose(elements))]
    slides, start, said = [], 0, set()
    for number, group in enumerate(groups, 1):
        end = groups[number][0].place if number < len(groups) else len(elements)
        parts = []
        for here, following in zip(group, [*(s.place for s in group[1:]), end], strict=True):
            around = sentences_around(elements, here.place, following, kind, len(group) == 1)
            lead, after = (pages.unsaid(text, said) for text in around)
            parts += [f"<p>{lead}</p>", here.html, f"<p>{after}</p>"]
        body = "\n".join(part for part in parts if part != "<p></p>")
        which = f' <span class="part">{number} of {len(groups)}</span>' if groups[1:] else ""
        slides.append(Slide(kind, title + which, body, pages.prose(elements[start:end])))
        start = end
    return slides


def grouped(shown: list[Shown]) -> list[list[Shown]]:
    """Two equations in a row share a slide; all else has one of its own."""
    groups: list[list[Shown]] = []
    for one in shown:
        if groups and len(groups[-1]) == 1 and one.is_equation and groups[-1][0].is_equation:
            groups[-1].append(one)
        else:
            groups.append([one])
    return groups


def sentences_around(elements: list[Tag], place: int, end: int, kind: str,
                     alone: bool) -> tuple[str, str]:
    """The sentences that lead to an element, and those that read it; either may be empty.

    An equation may stand in the middle of a sentence, and printed lines say too little alone: they
    have both. What is ``alone`` on a slide has room for a longer lead. A box needs none.
    """
    before = [e for e in elements[:place] if e.name == "p"]
    after = [e for e in elements[place + 1:end] if e.name == "p"]
    classes = elements[place].get("class", [])
    lines = [] if elements[place].select_one("img, figure") else pages.printed(elements[place])
    most = (260 if len(lines) < FEW else 120) if alone and (lines or "equation" in classes) else 180
    lead = pages.last(pages.inner(before[-1]), most) if before else ""
    if "admonition" in classes:
        return "", ""
    if "equation" in classes:
        goes_on = bool(after) and after[0].get_text()[:1].islower()
        return lead, pages.first(pages.inner(after[0]), 180) if goes_on else ""
    reading = [e for e in after if not e.get_text().rstrip().endswith(":")]
    if kind == "idea":
        return lead, ""
    read = pages.told(pages.first(pages.inner(reading[0]))) if reading else ""
    return pages.told(lead) if lines or not reading else "", read


def shown_of_page(elements: list[Tag]) -> list[Shown]:
    """Equations, tables, lists and boxes of a page's section."""
    found = []
    for place, element in enumerate(elements):
        kinds = element.get("class", [])
        if {"equation", "admonition"} & set(kinds):
            found.append(Shown(place, str(element), "equation" in kinds))
        elif table := element if element.name == "table" else element.select_one("table"):
            found += [Shown(place, part) for part in pages.split_table(table)]
        elif element.name in ("ol", "ul"):
            items = element.find_all("li", recursive=False)
            said = [pages.first(pages.inner(item.p or item), 120) for item in items]
            found.append(Shown(place, pages.bullets(said, element.name)))
    return found


def shown_of_lab(elements: list[Tag]) -> list[Shown]:
    """Figures and the first short table of a lab's section; where it has none, what is left."""
    figures, tables, others = [], [], []
    for place, element in enumerate(elements):
        if pages.is_equation(element):
            others.append(Shown(place, str(element), True))
        if "cell" not in element.get("class", []):
            continue
        drawn = [str(figure) for figure in element.select("figure[data-scrubber]")]
        drawn += [pages.picture_figure(picture) for picture in element.select("img")
                  if not picture.find_parent("figure")]
        figures += [Shown(place, figure) for figure in drawn]
        lines = pages.printed(element)
        if lines and not drawn and len(lines) <= LONGEST:
            short = 3 <= len(lines) <= TALLEST
            (tables if short else others).append(Shown(place, pages.results(lines)))
    found = sorted(figures + tables[:1], key=lambda one: one.place)
    return found or sorted(others, key=lambda one: (one.is_equation, -one.html.count("\n")))[:1]


def quiz(page: Tag) -> list[Slide]:
    """Each question of the page, its answer on the next step."""
    section = next((s for s in sections(page) if heading(s) == QUIZ), None)
    if section is None:
        raise LookupError(f"no section '{QUIZ}' on the page, expected the quiz")
    return [question(item, f"Check what you know: question {number}")
            for number, item in enumerate(section.ol.find_all("li", recursive=False), 1)]


def question(item: Tag, title: str) -> Slide:
    """A question, with what is folded below it on the next step and in the notes."""
    fold = item.find("details")
    if fold is None:
        raise LookupError(f"{title}: no folded answer, expected one")
    for code in fold.select(".highlight"):
        code.decompose()
    fold.extract().summary.decompose()
    answer = pages.inner(fold.find("div") or fold)
    body = f'{pages.inner(item)}\n<div class="answer fragment">{answer}</div>'
    return Slide("quiz", title, body, answer)


def examination(page: Tag) -> Deck:
    """The questions of the examination, to be gone through after it.

    Raises ``ValueError`` that names the question without a model answer.
    """
    title, _, claim = page.h1.get_text().strip().partition(": ")
    try:
        slides = [opening("", title, claim, page)]
        for item in page.select("section > ol > li"):
            slides.append(question(item, f"Question {len(slides)}"))
    except LookupError as error:
        raise ValueError(f"exam: {error.args[0]}") from error
    return Deck("exam", title, tuple(slides))


def endings(lab: Tag) -> list[Slide]:
    """What was learnt, its limits, the exercises, and where to read on."""
    slides, tasks = [], [s for s in sections(lab) if heading(s).startswith("Exercise:")]
    for name in FINDINGS:
        section = next((s for s in sections(lab) if heading(s) == name), None)
        if section is None:
            raise LookupError(f"no section '{name}' in the lab, expected one")
        if name == "Further reading" and tasks:
            slides.append(exercises(tasks))
        kind = "reading" if name == "Further reading" else "findings"
        items = [pages.inner(item.p or item) for item in section.select("ul > li")
                 if kind == "findings" or item.a]  # a link inside the book was undone
        said = pages.prose(section.select("p"))
        slides.append(Slide(kind, html.escape(name), pages.bullets(items), said))
    return slides


def exercises(tasks: list[Tag]) -> Slide:
    """What students do in the lab: level, minutes, and why."""
    said = []
    for task in tasks:
        name = html.escape(pages.capital(heading(task).removeprefix("Exercise: ")))
        level, *rest = pages.sentences(pages.inner(task.p))
        why = next((text for text in rest if text.startswith("Why: ")), "")
        said.append(f"{name} <small>{level.removeprefix('Level: ').rstrip('.')}</small>"
                    f"<br><small>{why}</small>")
    spoken = pages.prose([task.p for task in tasks])
    return Slide("exercises", "Now you", pages.bullets(said), spoken)


def before_sections(article: Tag, name: str) -> list[Tag]:
    """The elements ``name`` of an article before its first section."""
    found = article.find_all(name, recursive=False)
    if not found:
        raise LookupError(f"no text before the first section of '{article.h1.get_text()}', "
                          "expected what it is about")
    return found


def sections(article: Tag) -> list[Tag]:
    return article.find_all("section", recursive=False)


def heading(section: Tag) -> str:
    return section.h2.get_text().strip()
