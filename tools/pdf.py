"""Print the built book as one PDF, with contents and bookmarks: ``python tools/pdf.py``.

A browser opens the first page, takes in the articles of all others in the order of ``_toc.yml``,
with links between them turned into links inside the document, and prints what it then holds. The
style for paper is that of book/_assets/book.css, so a page printed by hand looks the same.
"""

from __future__ import annotations

from pathlib import Path

import yaml
from playwright.sync_api import Page

import book
import browser
import chapter_map

TARGET = book.ROOT / "_build/what_gradients_reveal.pdf"
FOOTER = ('<div style="width: 100%; font-size: 8pt; text-align: center">'
          '<span class="pageNumber"></span></div>')
# Names of anchors become unique by that of their page, which is also the anchor of its article.
GATHER = """async ([root, parts]) => {
    const anchor = to => to.href.slice(root.length).split(/[?#]/)[0].replaceAll(/\\W/g, "-");
    const make = (tag, textContent = "") =>
        Object.assign(document.createElement(tag), {textContent});
    const known = new Set(parts.flatMap(part => part.pages.map(name => root + name)));
    const gather = async name => {
        const address = new URL(name, root), here = anchor(address);
        const text = await (await fetch(address)).text();
        const page = new DOMParser().parseFromString(text, "text/html").querySelector("article");
        page.querySelectorAll("script, .headerlink").forEach(e => e.remove());
        page.querySelectorAll("[id]").forEach(e => { e.id = `${here}--${e.id}`; });
        page.querySelectorAll("[aria-labelledby]").forEach(e => {
            const name = e.getAttribute("aria-labelledby");
            e.setAttribute("aria-labelledby", `${here}--${name}`);
        });
        page.querySelectorAll("img").forEach(e => {
            e.src = new URL(e.getAttribute("src"), address);
        });
        page.querySelectorAll("a[href]").forEach(e => {
            const to = new URL(e.getAttribute("href"), address);
            if (known.has(to.href.split(/[?#]/)[0]))
                e.setAttribute("href", "#" + anchor(to) + to.hash.replace("#", "--"));
            else if (to.href.startsWith(root))  // the index and files: on no server afterwards
                e.removeAttribute("href");
        });
        page.id = here;
        page.style.breakBefore = "page";
        return page;
    };
    const contents = make("nav"), pages = [];
    for (const part of parts) {
        const list = make("ul");
        for (const name of part.pages) {
            const page = await gather(name);
            const link = make("a", page.querySelector("h1")?.textContent.trim() ?? name);
            link.href = "#" + page.id;
            list.appendChild(make("li")).append(link);
            pages.push(page);
        }
        contents.append(make("strong", part.caption), list);
    }
    document.querySelector("#jb-print-docs-body")?.remove();  // the theme's contents of one page
    const title = make("h1", document.title.split(" \u2014 ")[0]);
    document.querySelector("article").replaceWith(title, contents, ...pages);
    await window.MathJax?.typesetPromise?.();
    await Promise.all([...document.images].map(picture => picture.decode().catch(() => null)));
}"""


def parts(contents: dict) -> list[dict[str, object]]:
    """The captions of a ``_toc.yml`` and the built pages below each, in the order of reading."""
    found = [{"caption": "", "pages": [f"{contents['root']}.html"]}]
    return found + [{"caption": part["caption"],
                     "pages": [f"{name}.html" for name in chapter_map.files(part["chapters"])]}
                    for part in contents["parts"]]


def gather(page: Page, base: str, order: list[dict[str, object]]) -> None:
    """Turn ``page`` into the whole book served at ``base``, in the given order."""
    page.goto(base + order[0]["pages"][0], wait_until="load")
    page.evaluate(browser.SETTLED)
    page.evaluate(GATHER, [base, order])


def write(folder: Path, order: list[dict[str, object]], target: Path) -> Path:
    """Print the book built in ``folder`` to ``target``, and return it.

    Raises ``FileNotFoundError`` where there is no browser.
    """
    with browser.opened(folder) as (base, context):
        page = context.new_page()
        page.set_default_timeout(0)  # hundreds of sheets take minutes on a small machine
        gather(page, base, order)
        page.pdf(path=target, format="A4", outline=True, tagged=True, print_background=True,
                 display_header_footer=True, header_template="<span></span>",
                 footer_template=FOOTER, prefer_css_page_size=True)
    return target


def main() -> None:
    contents = yaml.safe_load((book.ROOT / "_toc.yml").read_text(encoding="utf-8"))
    folder = book.build().parents[1]
    print(f"The book on paper: {write(folder, parts(contents), TARGET)}")


if __name__ == "__main__":
    main()
