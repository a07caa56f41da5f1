"""Figures that move, in the built book: keys move them, paper and readers without scripts see all.

Every lab with a scrubber is opened in a real browser.
"""

import re
from pathlib import Path

import pytest
from playwright.sync_api import Locator, Page, expect

import book as book_tool
import browser

ROOT = Path(__file__).parents[1]
LABS = sorted(text.stem for text in (ROOT / "notebooks/text").glob("[0-9][0-9]_*.md")
              if "scrubber.scrubber(" in text.read_text(encoding="utf-8"))
OF_NO_USE = ("a", "z", "/", "Enter", "Escape", "Shift")

pytestmark = pytest.mark.skipif(
    browser.find_chromium() is None,
    reason="no Chromium here; install one or name it in LEAKLAB_CHROMIUM to check pages in it")


@pytest.fixture(scope="module")
def opened():
    """The address of the built book and a browser that is cut off from all else."""
    with browser.opened(book_tool.build(ROOT).parents[1]) as (base, context):
        yield base, context


@pytest.fixture
def page(opened):
    page = opened[1].new_page()
    page.set_default_timeout(10_000)
    yield page
    page.close()


def open_lab(page: Page, base: str, lab: str) -> list[Locator]:
    """The scrubbers of a lab's page, once the page has settled."""
    page.goto(f"{base}notebooks/{lab}.html", wait_until="load")
    page.evaluate(browser.SETTLED)
    return page.locator("figure[data-scrubber]").all()


def said(figure: Locator) -> tuple[str, ...]:
    """What a figure says of its step: in text, and to readers who hear it."""
    slider, view = figure.get_by_role("slider"), figure.locator("[role=img]")
    return (figure.locator("output").inner_text(), slider.input_value(),
            slider.get_attribute("aria-valuetext"), view.get_attribute("aria-label"))


def places(figure: Locator) -> str:
    """Where its windows onto the contact sheet stand."""
    return figure.locator("[role=img] span").evaluate_all(
        "tiles => tiles.map(tile => tile.style.backgroundPosition).join('; ')")


def pixels(figure: Locator) -> bytes:
    return figure.locator("[role=img]").screenshot(animations="disabled")


def test_labs_with_moving_figures_are_many_enough_to_test():
    assert len(LABS) >= 8


@pytest.mark.parametrize("lab", LABS)
def test_keys_move_each_figure_and_other_keys_do_not(opened, page, lab):
    figures = open_lab(page, opened[0], lab)
    assert figures
    here = page.url
    for figure in figures:
        slider = figure.get_by_role("slider")
        last = int(slider.get_attribute("max"))
        assert not figure.locator("> img").is_visible(), "the contact sheet gives way"
        slider.focus()
        seen = {}
        for key, step in (("Home", 0), ("ArrowRight", 1), ("ArrowLeft", 0), ("End", last),
                          ("ArrowRight", last), ("ArrowLeft", last - 1)):
            page.keyboard.press(key)
            assert slider.input_value() == str(step), key
            text, _, spoken, label = said(figure)
            assert text == spoken and label.endswith(f", {text}")
            now = (said(figure), places(figure), pixels(figure))
            assert seen.setdefault(step, now) == now, f"{key}: step {step} looked otherwise before"
        for part, what in enumerate(("text", "place", "picture")):
            assert len({seen[step][part] for step in (0, 1, last)}) == 3, f"{what} did not change"
        for key in OF_NO_USE:
            page.keyboard.press(key)
            assert (said(figure), places(figure)) == seen[last - 1][:2], key
    assert page.url == here, "a key turned the page"


@pytest.mark.parametrize("lab", LABS[:1])
def test_the_space_bar_plays_and_pauses(opened, page, lab):
    figure = open_lab(page, opened[0], lab)[0]
    slider, play = figure.get_by_role("slider"), figure.get_by_role("button")
    slider.focus()
    page.keyboard.press("Home")
    start = said(figure)
    page.keyboard.press("Shift+Tab")
    expect(play).to_be_focused()
    page.keyboard.press("Space")
    expect(play).to_have_text("Pause")
    expect(figure.locator("output")).not_to_have_text(start[0])
    page.keyboard.press("Space")
    expect(play).to_have_text("Play")
    stopped = said(figure)
    page.wait_for_timeout(1500)
    assert said(figure) == stopped


@pytest.mark.parametrize("lab", LABS)
def test_each_figure_fits_a_telephone_and_shows_all_steps_on_paper(opened, page, lab):
    page.set_viewport_size({"width": browser.WIDTHS["phone"], "height": browser.HEIGHT})
    figures = open_lab(page, opened[0], lab)
    page.evaluate(browser.THEME, "dark")
    for figure in figures:
        for part in ("[role=img]", "button", "input", "output"):
            box = figure.locator(part).first.bounding_box()
            assert box and box["x"] >= 0, (part, box)
            assert box["x"] + box["width"] <= browser.WIDTHS["phone"], (part, box)
        assert figure.get_by_role("slider").bounding_box()["height"] >= 24, "too low for a finger"
    page.emulate_media(media="print")
    page.evaluate("dispatchEvent(new Event('beforeprint'))")
    for figure in figures:
        sheet = figure.locator("> img")
        assert sheet.is_visible() and not figure.get_by_role("slider").is_visible()
        assert sheet.evaluate("image => image.complete && image.naturalWidth") > 0
        assert re.search(r"One column per step, from .+ to .+\.$", sheet.get_attribute("alt"))
    page.evaluate("dispatchEvent(new Event('afterprint'))")
    for figure in figures:
        assert figure.get_by_role("slider").is_visible()


def test_without_scripts_every_step_can_be_seen(opened):
    base, context = opened
    bare = context.browser.new_context(java_script_enabled=False)
    page = bare.new_page()
    for lab in LABS:
        page.goto(f"{base}notebooks/{lab}.html", wait_until="load")
        for figure in page.locator("figure[data-scrubber]").all():
            assert figure.locator("> img").is_visible()
            assert figure.get_by_role("slider").count() == 0
    bare.close()
