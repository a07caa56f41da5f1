"""What lecturers are given is made from the labs, runs, and leads to what exists."""

import contextlib
import doctest
import io
import re
import textwrap
from itertools import pairwise
from pathlib import Path
from xml.etree import ElementTree

import pytest
import torch
import yaml

import course
import lab_times
import needs_graph

ROOT = Path(__file__).parents[1]
LABS = course.read_labs()
PAGES = [ROOT / "book" / name for name in ("instructors.md", "projects.md", "exam.md",
                                           "index.md", "how_to_use.md")]

OPENING = """# Lab 7: average five models

**You will be able to**

- say what a round is;
- average by hand.

**You need** labs 2, 3 and 5. Study time about 40 minutes. Run time 5–20 s. Download 6 MB, once.
"""


# --- Reading the labs -----------------------------------------------------------------------


@pytest.mark.parametrize(("words", "numbers"), [
    ("lab 1", (1,)), ("labs 2 and 10", (2, 10)), ("labs 2, 3 and 7", (2, 3, 7)),
    ("labs 2 to 5", (2, 3, 4, 5)), ("Python and a first acquaintance with PyTorch", ()),
])
def test_the_labs_that_a_phrase_names(words, numbers):
    assert course.lab_numbers(words) == numbers


def test_an_opening_is_read_whole():
    lab = course.parse("07_average", OPENING)
    assert lab == course.LabNeeds("07_average", "average five models", (2, 3, 5), 40, "6 MB",
                                  ("say what a round is", "average by hand"))
    nothing = OPENING.replace("Download 6 MB, once", "Downloads nothing: it is here")
    assert course.parse("07_average", nothing).download == "none"


@pytest.mark.parametrize("lost", ["# Lab 7: ", "**You need** ", "Study time", "Download"])
def test_an_opening_without_a_part_is_named(lost):
    with pytest.raises(ValueError, match="07_average: no title"):
        course.parse("07_average", OPENING.replace(lost, ""))


def test_every_lab_needs_earlier_ones_only_and_teaches_something():
    numbers = {lab.number for lab in LABS}
    assert numbers == set(range(1, 21))
    for lab in LABS:
        assert set(lab.needs) <= {n for n in numbers if n < lab.number}, lab.slug
        assert len(lab.outcomes) >= 3, lab.slug


def lab(number, *needs):
    return course.LabNeeds(f"{number:02d}_x", "do", needs, 60, "none", ())


CHAIN = [lab(1), lab(2, 1), lab(3, 1, 2), lab(4, 1)]


def test_depths_and_direct_needs_of_a_small_course():
    assert course.depths(CHAIN) == {1: 0, 2: 1, 3: 2, 4: 1}
    assert course.direct(CHAIN) == {1: (), 2: (1,), 3: (2,), 4: (1,)}  # 3 has 1 through 2


# --- Plans ----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", course.read_plans())
def test_a_plan_sets_no_lab_before_one_that_it_needs(name):
    assert course.unprepared(course.read_plans()[name], LABS) == []


def test_the_plans_have_the_weeks_they_promise():
    plans = course.read_plans()
    assert {name: len(weeks) for name, weeks in plans.items()} == {
        "six_weeks": 6, "twelve_weeks": 12}
    assert {n for week in plans["twelve_weeks"] for n in week.labs} == {lab.number for lab in LABS}
    for name in plans:
        assert f"{{leaklab-plan}} {name}" in PAGES[0].read_text(encoding="utf-8")


@pytest.mark.parametrize("order", [[2, 1], [1, 3], [1, 1], [1, 9]])
def test_a_plan_in_a_wrong_order_is_noticed(order):
    assert course.unprepared([course.Week(tuple(order), "")], CHAIN)


# --- Tables and the picture -----------------------------------------------------------------


def test_the_tables_say_what_was_read_and_what_was_not_measured():
    times = {"01_x": {"cpu_seconds": 12, "peak_memory_mb": 640, "measured": "2026-01-01"}}
    table = course.labs_table(CHAIN, times).splitlines()
    assert table[2] == "| [1: do](/notebooks/01_x.ipynb) | none | 60 | 12 | 0.6 | none |"
    assert table[4].endswith("| 1, 2 | 60 | not measured | not measured | none |")
    weeks = [course.Week((1, 2), "talk"), course.Week((), "rest")]
    assert course.plan_table(weeks, CHAIN).splitlines()[2:] == [
        "| 1 | [1](/notebooks/01_x.ipynb); [2](/notebooks/02_x.ipynb) | 2.0 h | talk |",
        "| 2 | – | – | rest |"]


def test_the_picture_links_every_lab_and_draws_each_direct_need():
    drawn = needs_graph.draw(LABS, lambda slug: f"{slug}.html?a&b")
    ElementTree.fromstring(drawn)
    assert re.findall(r'href="(\w+)\.html', drawn) == [lab.slug for lab in LABS]
    assert drawn.count("<path") == sum(map(len, course.direct(LABS).values()))
    assert 'role="group"' in drawn  # links inside a picture would be hidden
    place = needs_graph.places(LABS)
    assert len(set(place.values())) == len(place) >= len(LABS)
    for number, needs in course.direct(LABS).items():
        assert all(place[n][1] < place[number][1] for n in needs)


def test_a_line_over_several_rows_passes_beside_the_circles():
    course_of_four = [lab(1), lab(2, 1), lab(3, 2), lab(4, 1), lab(5, 3, 4)]
    assert [1, 4] in needs_graph.chains(course_of_four)
    assert [4, (4, 5, 2), 5] in needs_graph.chains(course_of_four)
    place = needs_graph.places(LABS)
    by_row = {}
    for point, (x, y) in place.items():
        by_row.setdefault(y, []).append((x, point))
    for row in by_row.values():
        row.sort(key=lambda entry: entry[0])
        for (x, a), (further, b) in pairwise(row):
            circles = isinstance(a, int) + isinstance(b, int)
            assert further - x > circles * needs_graph.RADIUS, (a, b)


def test_times_were_measured_for_every_lab():
    times = course.read_times()
    assert set(times) == {lab.slug for lab in LABS}
    for slug, cost in times.items():
        assert set(cost) == {"cpu_seconds", "peak_memory_mb", "measured"}, slug
        assert cost["cpu_seconds"] >= 1 and cost["peak_memory_mb"] >= 100, slug
    assert (ROOT / "book/lab_times.yml").read_text().startswith(lab_times.HEADER)


def test_measured_times_are_written_sorted_and_in_one_step(tmp_path):
    target = tmp_path / "lab_times.yml"
    lab_times.write(target, {"02_b": {"cpu_seconds": 2}, "01_a": {"cpu_seconds": 1}})
    assert list(yaml.safe_load(target.read_text())) == ["01_a", "02_b"]
    assert list(tmp_path.iterdir()) == [target]


FAILING = """---
jupytext: {text_representation: {extension: .md, format_name: myst}}
kernelspec: {display_name: Python 3, language: python, name: python3}
leaklab: {data: [], evidence: []}
---

# Lab 1: fail

```{code-cell} ipython3
raise ArithmeticError("on purpose")
```
"""


def test_a_lab_that_fails_gets_no_time(tmp_path, capfd):
    for folder in ("notebooks/text", "book", "src"):
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / "_config.yml").write_text("title: x\n")
    (tmp_path / "notebooks/text/01_fail.md").write_text(FAILING)
    assert lab_times.main(["02"], tmp_path) == 2
    assert lab_times.main(["01"], tmp_path) == 1
    assert "01_fail: cell 3: ArithmeticError: on purpose" in capfd.readouterr().err
    assert list((tmp_path / "book").iterdir()) == []


# --- Pages ----------------------------------------------------------------------------------


def anchors(page: Path) -> set[str]:
    """The anchors that MyST gives to the headings of a page."""
    heads = re.findall(r"^#+ (.+)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", head.lower()).replace(" ", "-") for head in heads}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_links_lead_to_pages_and_headings_that_exist(page):
    text = re.sub(r"```.*?```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)
    links = [link for link in re.findall(r"\]\(([^)\s]+)\)", text) if "://" not in link]
    for link in links:
        path, _, anchor = link.partition("#")
        target = (page.parent / path) if path else page
        assert target.exists(), link
        assert not anchor or anchor in anchors(target), link


def test_every_part_has_a_project_with_brief_control_starter_and_marking():
    parts = [entry["part"] for entry in yaml.safe_load(
        (ROOT / "book/chapters.yml").read_text(encoding="utf-8"))]
    sections = re.split(r"^## ", PAGES[1].read_text(encoding="utf-8"), flags=re.MULTILINE)[1:]
    assert [s.partition(":")[0] for s in sections] == parts
    for section in sections:
        for piece in ("**Question.**", "**Brief.**", "**Control.**", "**Starter.**",
                      "**Special in marking.**"):
            assert piece in section, (section[:40], piece)


def test_the_first_example_of_the_readme_reads_its_record():
    example, *_ = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    names: dict[str, object] = {}
    with contextlib.redirect_stdout(io.StringIO()), torch.random.fork_rng():
        torch.manual_seed(0)
        exec(compile(example, "README.md", "exec"), names)
    torch.testing.assert_close(names["found"].guess, names["record"], rtol=1e-3, atol=1e-3)
    assert bool(names["found"].certificate.all())


def exam_failures(text: str) -> tuple[int, int]:
    blocks = re.findall(r"^ *```pycon\n(.*?)```", text, re.DOTALL | re.MULTILINE)
    lines = "\n".join(map(textwrap.dedent, blocks))
    found = doctest.DocTestRunner(verbose=False).run(
        doctest.DocTestParser().get_doctest(lines, {}, "exam", None, 0), out=lambda _: None)
    return found.failed, found.attempted


def test_the_numbers_of_the_model_answers_are_computed():
    text = PAGES[2].read_text(encoding="utf-8")
    failed, attempted = exam_failures(text)
    assert failed == 0 and attempted >= 7
    assert exam_failures(text.replace("(0.038, 0.988)", "(0.380, 0.988)"))[0] > 0


def test_every_question_has_one_model_answer_and_points_add_up():
    text = PAGES[2].read_text(encoding="utf-8")
    questions = re.split(r"^\d+\. ", text, flags=re.MULTILINE)[1:]
    assert len(questions) == 12
    for question in questions:
        assert question.count(":::{dropdown} Model answer") == 1
        assert sum(map(int, re.findall(r"\((\d)(?: points)?\)", question))) == 5 \
            or "(5)" in question, question[:60]
