"""Open every page of the built book in a real browser: ``python tools/browser.py [--shots DIR]``.

The browser is sent through a proxy that does not exist, which cuts it off from all but the book,
served on this machine. A page is faulted for a request that fails or leaves the book, a message on
the console, a script error, mathematics that was not set, a picture without a text alternative or
too dark to read in the dark theme, content wider than the window, a link that leads nowhere, more
than 1.5 MB to load, and what axe-core holds to be a serious barrier.
"""

from __future__ import annotations

import argparse
import gzip
import os
import shutil
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache, partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from urllib.parse import quote, unquote, urldefrag

from playwright.sync_api import Browser, BrowserContext, Page, sync_playwright

import accessibility

ROOT = Path(__file__).resolve().parents[1]
BOOK = ROOT / "_build/html"
CHROMIUM = ("chromium", "chromium-browser", "google-chrome")
FLAGS = ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
         "--disable-background-networking", "--disable-component-update", "--disable-sync",
         "--proxy-server=127.0.0.1:9")  # nothing listens there; Chromium exempts this machine
WIDTHS = {"desktop": 1280, "phone": 390}
HEIGHT = 900
HEAVIEST = 1_500_000  # bytes, as a server that compresses sends them
COMPRESSED = (".html", ".css", ".js", ".json", ".svg", ".txt")  # other formats are so already

THEME = "theme => { document.documentElement.dataset.theme = theme; }"
# Resolves once mathematics is set and fonts are there: then the layout is final.
SETTLED = """async () => {
    await (window.MathJax?.startup?.promise ?? null);
    await document.fonts.ready;
}"""
LOOK = """() => ({
    ids: [...document.querySelectorAll("[id]")].map(e => e.id),
    links: [...document.querySelectorAll("a[href]")]  // in a picture, a.href is no string
        .map(a => new URL(a.getAttribute("href"), document.baseURI).href),
    formulas: [...document.querySelectorAll(".math")]
        .filter(e => !e.querySelector("mjx-container") || e.querySelector("mjx-merror"))
        .map(e => e.textContent.trim().slice(0, 60)),
    pictures: [...document.querySelectorAll("img")]
        .filter(e => !e.alt.trim() && e.getAttribute("role") !== "presentation")
        .map(e => e.getAttribute("src").slice(0, 60)),
})"""
# The summary holds a blank until the last page found is in the list.
SEARCHED = """() => document.querySelector("#search-results .search-summary")?.textContent.trim()"""
# A picture drawn for white paper, on whatever lies behind it: no colour where it is transparent.
TOO_DARK = """() => [...document.querySelectorAll("article img")].filter(e => {
    const canvas = Object.assign(document.createElement("canvas"), {width: 32, height: 32});
    const pen = canvas.getContext("2d");
    pen.drawImage(e, 0, 0, 32, 32);
    const seen = pen.getImageData(0, 0, 32, 32).data.filter((_, i) => i % 4 === 3);
    const clear = seen.filter(alpha => alpha < 128).length > seen.length / 4;
    const ground = getComputedStyle(e).backgroundColor.match(/[\\d.]+/g).map(Number);
    return clear && (ground[3] === 0 || ground[0] + ground[1] + ground[2] < 384);
}).map(e => e.getAttribute("src").slice(0, 60))"""
TOO_WIDE = """() => {
    const room = document.documentElement.clientWidth;
    return [document.documentElement, ...document.querySelectorAll("main, article")]
        .filter(e => e.scrollWidth > Math.max(room, e.clientWidth) + 1)
        .map(e => `<${e.localName}> is ${e.scrollWidth} px wide`);
}"""


@dataclass(frozen=True)
class Visit:
    """What was found on one page, and what its links and anchors are."""

    name: str
    faults: tuple[str, ...]
    ids: frozenset[str]
    links: frozenset[str]


def find_chromium() -> str | None:
    """The browser to use: ``LEAKLAB_CHROMIUM``, else the first Chromium on the path, or ``None``.

    Raises ``FileNotFoundError`` where ``LEAKLAB_CHROMIUM`` names no file.
    """
    named = os.environ.get("LEAKLAB_CHROMIUM")
    if named and not Path(named).is_file():
        raise FileNotFoundError(f"LEAKLAB_CHROMIUM: {named!r} given, expected the file of a "
                                "Chromium browser")
    return named or next(filter(None, map(shutil.which, CHROMIUM)), None)


@contextmanager
def served(folder: Path) -> Iterator[str]:
    """Inside, ``folder`` is served on this machine only, at the address that is given."""
    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *args):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(folder)))
    Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/"
    finally:
        server.shutdown()
        server.server_close()


def pages(folder: Path) -> list[str]:
    """The pages of a built book, without the one that only sends the reader on."""
    found = (path for path in sorted(folder.rglob("*.html"))
             if not {"_static", "_sources"} & set(path.relative_to(folder).parts))
    return [path.relative_to(folder).as_posix() for path in found
            if 'http-equiv="refresh"' not in path.read_text(encoding="utf-8")]


def listen(page: Page, base: str) -> list[str]:
    """The faults that ``page`` will report while it loads; the list grows as they come."""
    faults: list[str] = []

    def asked(request):
        if not request.url.startswith((base, "data:", "blob:")):
            faults.append(f"asks a third party for {request.url[:200]}")

    def answered(response):
        if response.status >= 400:
            faults.append(f"{response.status} for {response.url.removeprefix(base)}")

    def said(message):
        if message.type in ("error", "warning"):
            faults.append(f"console {message.type}: {message.text[:200]}")

    page.on("request", asked)
    page.on("response", answered)
    page.on("console", said)
    page.on("pageerror", lambda error: faults.append(f"script error: {str(error)[:200]}"))
    page.on("requestfailed", lambda request: faults.append(f"failed: {request.url[:200]}"))
    return faults


@cache
def sent(path: Path) -> int:
    """Bytes that a server which compresses sends for a file, 0 for one that is not there."""
    if not path.is_file():
        return 0
    body = path.read_bytes()
    return len(gzip.compress(body, 6)) if path.suffix in COMPRESSED else len(body)


def weight(folder: Path, base: str, asked: Iterable[str]) -> int:
    """Bytes sent for the addresses ``asked`` for that lie in the book, each counted once."""
    names = {unquote(urldefrag(url)[0]).removeprefix(base).partition("?")[0]
             for url in asked if url.startswith(base)}
    return sum(sent(folder / name) for name in names)


def visit(page: Page, base: str, name: str, folder: Path, shots: Path | None) -> Visit:
    """Open one page at each width and in each theme, and say what is wrong with it."""
    faults, asked = listen(page, base), set()
    page.on("request", lambda request: asked.add(request.url))
    page.goto(base + name, wait_until="load")
    page.evaluate(SETTLED)
    seen = page.evaluate(LOOK)
    if (heavy := weight(folder, base, asked)) > HEAVIEST:
        faults.append(f"{heavy:,} bytes to load, expected at most {HEAVIEST:,}")
    faults += accessibility.findings(page, "desktop")
    faults += [f"mathematics not set: {formula}" for formula in seen["formulas"]]
    faults += [f"no alternative text: {picture}" for picture in seen["pictures"]]
    for device, width in WIDTHS.items():
        page.set_viewport_size({"width": width, "height": HEIGHT})
        faults += [f"at {width} px {wide}" for wide in page.evaluate(TOO_WIDE)]
        if shots:
            photograph(page, shots, f"{name.removesuffix('.html').replace('/', '__')}_{device}")
    faults += accessibility.findings(page, "phone")
    page.evaluate(THEME, "dark")
    faults += accessibility.findings(page, "dark")
    faults += [f"too dark in the dark theme: {name}" for name in page.evaluate(TOO_DARK)]
    return Visit(name, tuple(dict.fromkeys(faults)), frozenset(seen["ids"]),
                 frozenset(seen["links"]))


def photograph(page: Page, shots: Path, name: str) -> None:
    """Write the page as it looks in the light and in the dark theme."""
    for theme in ("light", "dark"):
        page.evaluate(THEME, theme)
        page.screenshot(path=shots / f"{name}_{theme}.png", full_page=True,
                        animations="disabled")
    page.evaluate(THEME, "light")


def dead_links(visits: list[Visit], base: str, folder: Path) -> list[str]:
    """Links inside the book to pages or anchors that do not exist."""
    anchors = {visit.name: visit.ids for visit in visits}
    found = []
    for visited in visits:
        for link in sorted(visited.links):
            if not link.startswith(base):
                continue
            target, anchor = map(unquote, urldefrag(link.removeprefix(base)))
            target = target.partition("?")[0]
            if target.endswith("/") or not target:
                target += "index.html"
            missing = not (folder / target).is_file()
            if missing or (anchor and anchor not in anchors.get(target, {anchor})):
                found.append(f"{visited.name}: link to {target}{'#' * bool(anchor)}{anchor}, "
                             f"no such {'page' if missing else 'anchor'}")
    return found


@contextmanager
def started() -> Iterator[Browser]:
    """Inside, a browser runs that reaches no machine but this one.

    Raises ``FileNotFoundError`` where there is no browser.
    """
    path = find_chromium()
    if path is None:
        raise FileNotFoundError(f"no browser found, expected LEAKLAB_CHROMIUM or one of {CHROMIUM}")
    with (sync_playwright() as playwright,
          playwright.chromium.launch(executable_path=path, args=list(FLAGS)) as chromium):
        yield chromium


@contextmanager
def opened(folder: Path) -> Iterator[tuple[str, BrowserContext]]:
    """Inside, ``folder`` is served and a browser is there to open it: its address, and the browser.

    Raises ``FileNotFoundError`` where there is no browser.
    """
    with served(folder) as base, started() as chromium:
        yield base, chromium.new_context(viewport={"width": WIDTHS["desktop"], "height": HEIGHT})


def check(folder: Path, shots: Path | None = None) -> list[str]:
    """Everything wrong with the built book in ``folder``, one line a fault; empty if all is well.

    Raises ``FileNotFoundError`` where there is no book or no browser.
    """
    names = pages(folder)
    if not names:
        raise FileNotFoundError(f"folder: no HTML page in {folder}, expected a built book")
    if shots:
        shots.mkdir(parents=True, exist_ok=True)
    visits = []
    with opened(folder) as (base, context):
        for name in names:
            page = context.new_page()
            visits.append(visit(page, base, name, folder, shots))
            page.close()
    faults = [f"{visited.name}: {fault}" for visited in visits for fault in visited.faults]
    return faults + dead_links(visits, base, folder)


def search(folder: Path, words: Iterable[str]) -> dict[str, list[str]]:
    """The titles that the book's own search shows for each of ``words``."""
    found = {}
    with opened(folder) as (base, context):
        for word in words:
            page = context.new_page()
            page.goto(f"{base}search.html?q={quote(word)}", wait_until="load")
            page.wait_for_function(SEARCHED)
            found[word] = page.locator("#search-results ul.search > li > a").all_inner_texts()
            page.close()
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--shots", type=Path, metavar="DIR", help="write a picture of each page")
    faults = check(BOOK, parser.parse_args().shots)
    sys.exit("\n".join(faults) or None)


if __name__ == "__main__":
    main()
