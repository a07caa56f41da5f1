"""From the first page to the end of lab 3 in a browser: only links that a reader sees, only clicks.

What a reader does on the way is done too: answers of a quiz, hints and solutions are unfolded, and
where an exercise cannot be filled in, the page says where it can be.
"""

import re
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from playwright.sync_api import Page, expect

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "book/_ext"))

import bookkit  # noqa: E402

import book as book_tool  # noqa: E402
import browser  # noqa: E402

CHAPTERS = ("01_federated_averaging", "02_what_crosses_the_wire", "03_exact_leakage")
pytestmark = pytest.mark.skipif(
    browser.find_chromium() is None,
    reason="no Chromium here; install one or name it in LEAKLAB_CHROMIUM to check pages in it")


@pytest.fixture(scope="module")
def opened():
    with browser.opened(book_tool.build(ROOT).parents[1]) as (base, context):
        yield base, context


@pytest.fixture
def page(opened):
    page = opened[1].new_page()
    page.set_default_timeout(10_000)
    yield page
    page.close()


def name(page: Page, base: str) -> str:
    return page.url.removeprefix(base).partition("#")[0].removesuffix(".html")


def follow(page: Page, link) -> None:
    """Click a link that can be seen, and wait for its page."""
    link.scroll_into_view_if_needed()
    expect(link).to_be_visible()
    with page.expect_navigation():
        link.click()
    page.evaluate(browser.SETTLED)


def turn(page: Page) -> None:
    """Press Next at the foot of the page."""
    follow(page, page.locator("a.right-next"))


def unfold(page: Page, summary: str) -> list[str]:
    """Unfold everything in the article that is folded under ``summary``; the texts that appear."""
    texts = []
    for box in page.locator("article details", has=page.get_by_text(summary, exact=True)).all():
        inner = box.locator("> :not(summary)").first
        assert not inner.is_visible(), f"{summary} is open before it is asked for"
        box.locator("summary").press("Enter")
        expect(inner).to_be_visible()
        texts.append(box.inner_text().removeprefix(summary).strip())
    return texts


def test_next_leads_from_the_first_page_to_the_end_of_lab_3(opened, page):
    base = opened[0]
    page.goto(f"{base}book/index.html", wait_until="load")
    passed = [name(page, base)]
    while passed[-1] != "notebooks/03_exact_leakage":
        turn(page)
        passed.append(name(page, base))
        assert len(passed) < 20, passed
    road = [place for slug in CHAPTERS for place in (f"book/{slug}", f"notebooks/{slug}")]
    assert passed[-6:] == road and passed[1] == "book/how_to_use"
    assert not {"book/exam", "book/projects", "book/instructors"} & set(passed), (
        "model answers stand before the first chapter")
    turn(page)
    assert name(page, base) == "book/04_gradient_matching"


def test_a_reader_who_skips_the_primers_is_led_to_chapter_1(opened, page):
    base = opened[0]
    page.goto(f"{base}book/index.html", wait_until="load")
    turn(page)
    follow(page, page.locator("article").get_by_role("link", name="chapter 1", exact=True))
    assert name(page, base) == f"book/{CHAPTERS[0]}"


@pytest.mark.parametrize("slug", CHAPTERS)
def test_a_chapter_is_read_quizzed_and_continued_in_its_lab(opened, page, slug):
    base = opened[0]
    page.goto(f"{base}book/{slug}.html", wait_until="load")
    page.evaluate(browser.SETTLED)
    answers = unfold(page, "Answer")
    assert len(answers) == 4
    assert all(len(answer) > 80 for answer in answers), "reasons, not verdicts"
    turn(page)
    assert name(page, base) == f"notebooks/{slug}"
    stubs = page.locator("article div.cell_input", has_text="# your code")
    hints, solutions = unfold(page, "Hint"), unfold(page, "Solution")
    assert stubs.count() == len(hints) == len(solutions) >= 2
    assert all("def " in solution for solution in solutions)
    for heading in ("What we learnt", "Limits", "Further reading"):
        expect(page.get_by_role("heading", name=heading)).to_be_visible()


@pytest.mark.parametrize("slug", CHAPTERS)
def test_a_lab_says_where_its_exercises_can_be_done(opened, page, slug):
    base = opened[0]
    page.goto(f"{base}notebooks/{slug}.html", wait_until="load")
    note = page.locator("article .to-run")
    expect(note).to_be_visible()
    assert f"make lab NB={slug[:2]}" in note.inner_text()
    assert note.bounding_box()["y"] < browser.HEIGHT, "it stands where a reader begins"
    follow(page, note.get_by_role("link"))
    assert name(page, base) == "book/how_to_use"
    heading = page.get_by_role("heading", name="Do the exercises")
    expect(heading).to_be_in_viewport()
    section = page.locator("section#do-the-exercises")
    for way in ("On your own machine", "On Colab", "On paper"):
        expect(section.get_by_text(way, exact=True)).to_be_visible()
    for link in section.locator("a[href^='#']:not(.headerlink)").all():
        assert page.locator(link.get_attribute("href")).count() == 1
    page.go_back()
    assert name(page, base) == f"notebooks/{slug}"


def test_every_lab_has_such_a_note_and_no_other_page(opened):
    folder = ROOT / "_build/html"
    for page in browser.pages(folder):
        notes = (folder / page).read_text(encoding="utf-8").count('class="to-run"')
        assert notes == bool(re.match(r"notebooks/\d\d_", page)), page


@pytest.mark.parametrize(("address", "colab"), [("", False), ("https://a.example/x", True)])
def test_the_note_names_colab_where_the_page_has_its_button(address, colab):
    app = SimpleNamespace(config=SimpleNamespace(html_theme_options={"repository_url": address}))
    context = {"body": "<h1>Lab 3</h1><h1>b</h1>", "pathto": lambda name: f"../{name}.html"}
    bookkit.say_how_to_run(app, "notebooks/03_exact_leakage", "page.html", context, None)
    assert context["body"].count("make lab NB=03") == 1
    assert 'href="../book/how_to_use.html#do-the-exercises"' in context["body"]
    assert ("on Colab with the rocket" in context["body"]) == colab
