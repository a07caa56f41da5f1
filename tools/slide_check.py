"""Open every deck of slides in a real browser, from the disk: ``python tools/slide_check.py``.

A deck is faulted for a slide that is empty or does not hold what is on it, type too small for the
last row, a picture that is missing or has no text alternative, a message on the console, a request
that leaves the file, a page wider than a phone, and what axe-core holds to be a serious barrier.
"""

from __future__ import annotations

import sys
from pathlib import Path

from playwright.sync_api import Page

import accessibility
import browser
import slides

ROOMS = {"projector": (1280, 720), "wide projector": (1920, 1080)}
LIST = "index.html"
PHONE = (390, 844)
READY = "() => window.Reveal?.isReady()"
# Sizes are those on a slide of 1280 by 720, whatever the screen.
MEASURE = """() => [...document.querySelectorAll("#slides > section")].flatMap((slide, index) => {
    const box = slide.getBoundingClientRect(), scale = box.width / 1280;
    const body = slide.querySelector(".body"), found = [];
    const edge = e => e.getBoundingClientRect();
    if (!slide.querySelector("h1, h2")?.textContent.trim()) found.push("no title");
    if (!body.textContent.trim() && !body.querySelector("img")) found.push("empty");
    const full = slide.scrollHeight > 721 || body.scrollHeight > body.clientHeight + 1;
    if (full) found.push("too full");
    const out = [...slide.querySelectorAll("h1, h2, .body, .body *")]
        .find(e => edge(e).right > box.right - 20 * scale || edge(e).bottom > box.bottom + scale);
    if (out) found.push(`<${out.localName}> reaches beyond it`);
    const type = parseFloat(getComputedStyle(slide).fontSize);
    if (type < 18) found.push(`type of ${type} px, expected at least 18`);
    for (const e of slide.querySelectorAll("pre")) {
        const size = parseFloat(getComputedStyle(e).fontSize);
        if (size < 15) found.push(`lines of ${size} px, expected at least 15`);
    }
    for (const e of slide.querySelectorAll("img")) {
        if (!e.complete || !e.naturalWidth) found.push("a picture is missing");
        if (!e.alt.trim()) found.push("a picture has no text alternative");
        const drawn = edge(e).height / scale;
        if (e.offsetParent && drawn < 150) found.push(`a picture of ${drawn.toFixed()} px`);
    }
    return found.map(fault => `slide ${index + 1}: ${fault}`);
})"""


def check(folder: Path) -> list[str]:
    """Everything wrong with the decks in ``folder``, one line a fault; empty if all is well.

    Raises ``FileNotFoundError`` where there is no deck or no browser.
    """
    decks = sorted(folder.glob("*.html"))
    if not decks:
        raise FileNotFoundError(f"folder: no deck in {folder}, expected those of `make slides`")
    faults = []
    with browser.opened(folder) as (_, context):
        for deck in decks:
            page = context.new_page()
            faults += [f"{deck.name}: {fault}" for fault in visit(page, deck)]
            if deck == decks[0]:  # the buttons of reveal.js, which are those of every deck
                load(page, deck, *ROOMS["projector"])
                faults += [f"{deck.name}: {fault}" for fault in barriers(page, "desktop")]
            page.close()
    return faults


def visit(page: Page, deck: Path) -> list[str]:
    """Open one deck, or the list of them, at each size."""
    faults = browser.listen(page, deck.as_uri())
    if deck.name != LIST:
        load(page, deck, *ROOMS["projector"])
        for room, (width, height) in ROOMS.items():
            page.set_viewport_size({"width": width, "height": height})
            page.evaluate("Reveal.layout()")
            faults += [f"{fault} ({room})" for fault in page.evaluate(MEASURE)]
    load(page, deck, *PHONE)
    faults += [f"at 390 px {wide}" for wide in page.evaluate(browser.TOO_WIDE)]
    faults += barriers(page, "desktop")  # here all slides are seen at once
    page.evaluate(browser.THEME, "dark")
    faults += barriers(page, "dark")
    return list(dict.fromkeys(faults))


def load(page: Page, deck: Path, width: int, height: int) -> None:
    """Open ``deck`` afresh at a size; a deck that is open would load itself again."""
    page.goto("about:blank")
    page.set_viewport_size({"width": width, "height": height})
    page.goto(deck.as_uri(), wait_until="load")
    if deck.name != LIST and width > PHONE[0]:
        page.wait_for_function(READY)


def barriers(page: Page, view: str) -> list[str]:
    """What axe-core finds; nothing where it is not installed."""
    axe = accessibility.axe_core()
    if axe is None:
        return []
    page.evaluate(axe)
    return accessibility.findings(page, view)


def main() -> None:
    sys.exit("\n".join(check(slides.TARGET)) or None)


if __name__ == "__main__":
    main()
