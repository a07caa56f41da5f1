"""The book on paper holds every page once, in order, and links that lead inside it."""

import sys
from pathlib import Path

import pytest
import yaml

sys.path.insert(0, str(Path(__file__).parents[1] / "tools"))
import browser
import pdf

ROOT = Path(__file__).parents[1]
SHELL = ('<!DOCTYPE html><html lang="en"><head><meta charset="utf-8"><title>Title — Book</title>'
         '<link rel="icon" href="data:,"></head><body><nav>Not printed</nav>'
         "<article>{}</article></body></html>")
PAGES = {
    "book/index.html": '<h1>Title<a class="headerlink" href="#top">#</a></h1>',
    "book/one.html": '<h1 id="top">One</h1><a href="../lab/one.html#end">end</a>'
                     '<img src="dot.svg" alt="A dot"><a href="#top">up</a>',
    "lab/one.html": '<h1 id="top">Lab</h1><p id="end">End</p><a href="../book/one.html">chapter</a>'
                    '<a href="https://a.example/">away</a><a href="left_out.html">left out</a>',
}
ORDER = [{"caption": "", "pages": ["book/index.html"]},
         {"caption": "Part", "pages": ["book/one.html", "lab/one.html"]}]
needs_chromium = pytest.mark.skipif(browser.find_chromium() is None, reason="no Chromium here")


@pytest.fixture
def folder(tmp_path):
    for name, text in PAGES.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(SHELL.format(text), encoding="utf-8")
    (tmp_path / "book/dot.svg").write_text(
        '<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"/>')
    return tmp_path


@needs_chromium
def test_articles_are_gathered_in_order_and_their_links_lead_inside(folder):
    with browser.opened(folder) as (base, context):
        page = context.new_page()
        pdf.gather(page, base, ORDER)
        seen = page.evaluate("""() => ({
            titles: [...document.querySelectorAll("h1")].map(e => e.textContent),
            ids: [...document.querySelectorAll("[id]")].map(e => e.id),
            contents: [...document.querySelectorAll("nav a")].map(e => e.getAttribute("href")),
            links: [...document.querySelectorAll("article a")].map(e => e.getAttribute("href")),
            picture: document.querySelector("img").naturalWidth,
        })""")
    assert seen["titles"] == ["Title", "Title", "One", "Lab"]
    assert len(seen["ids"]) == len(set(seen["ids"]))
    assert seen["contents"] == ["#book-index-html", "#book-one-html", "#lab-one-html"]
    assert seen["links"] == ["#lab-one-html--end", "#book-one-html--top", "#book-one-html",
                             "https://a.example/", None]
    inside = {link[1:] for link in seen["links"] + seen["contents"] if link and link[0] == "#"}
    assert inside <= set(seen["ids"])
    assert seen["picture"] == 9


@needs_chromium
def test_the_printed_book_has_a_sheet_for_each_page_and_bookmarks(folder):
    printed = pdf.write(folder, ORDER, folder / "book.pdf").read_bytes()
    assert printed.startswith(b"%PDF-")
    assert printed.count(b"/Type /Page\n") == 1 + len(PAGES)  # and the contents
    assert b"/Outlines" in printed


def test_the_order_is_that_of_the_contents():
    order = pdf.parts(yaml.safe_load((ROOT / "_toc.yml").read_text(encoding="utf-8")))
    assert order[0]["pages"] == ["book/index.html"]
    foundations = next(part for part in order if part["caption"] == "Foundations")
    assert foundations["pages"][:2] == ["book/01_federated_averaging.html",
                                        "notebooks/01_federated_averaging.html"]
