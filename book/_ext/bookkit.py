"""What makes the built book self-contained and accessible.

1. MathJax and its fonts come from the package sphinx-mathjax-offline and are served by the book.
2. A content-security policy in each page makes the browser refuse third parties, and the build
   fails where a page names one.
3. Accessibility faults of the theme and of docutils are mended in the HTML.
4. The page at the root sends readers to the first page, and 404.html says what is not there.
5. Buttons that need the public address appear once ``repository.url`` names it.
6. Each lab says how to run it, since the book shows stored results.
"""

from __future__ import annotations

import html
import importlib.util
import re
import shutil
from pathlib import Path

from sphinx.application import Sphinx
from sphinx.config import Config
from sphinx.errors import ExtensionError

COLAB = "https://colab.research.google.com"
POLICY = (
    '<meta http-equiv="Content-Security-Policy" content="default-src \'self\' \'unsafe-inline\' '
    "data: blob:; object-src 'none'; base-uri 'self'\">"
)
CHARSET = '<meta charset="utf-8" />'
TO_RUN = (
    '<div class="to-run" role="note">The results on this page are stored: read on, nothing has to '
    "run. To fill in the exercises and have your answers checked, open the lab with "
    '<code>make lab NB={number}</code>{elsewhere}. <a href="{how}">How to do the exercises, also '
    "without installing anything</a>.</div>"
)
MENDED = (
    # The accessible name must contain the visible text (WCAG 2.5.3): "Search Ctrl+K".
    (re.compile(r'(<button class="btn search-button-field[^>]*?) aria-label="[^"]*"'), r"\1"),
    (re.compile(r'<summary aria-label="Toggle hidden content">'), "<summary>"),
    # Next to each chapter in the left bar is a button with a picture and no name.
    (re.compile(r'<summary>(?=<span class="toctree-toggle")'), '<summary aria-label="Its lab">'),
    # The boxes of a list of tasks are drawn without a name.
    (re.compile(r'(?<=<input class="task-list-item-checkbox") (?=disabled)'),
     ' aria-label="Box to tick" '),
    # The left bar lies outside any landmark.
    (re.compile(r'<div id="pst-primary-sidebar" class'),
     '<div id="pst-primary-sidebar" role="navigation" aria-label="Book" class'),
    # Sphinx sets a long signature as a list of definitions that defines nothing.
    (re.compile(r'<dl>\n(<dd><em class="sig-param">.*?)</dl>', re.DOTALL),
     lambda found: '<div class="sig-params">\n' + re.sub(r"(?<=<)(/?)dd>", r"\1div>", found[1])
     + "</div>"),
    # docutils puts entries of a deprecated role into role="list".
    (re.compile(r' role="doc-biblioentry"'), ' role="listitem"'),
)
LOADED = re.compile(
    r"""<(?:script|link|img|iframe|source|object|embed)\b[^>]*?"""
    r"""\b(?:src|href|data)=["']((?:https?:)?//[^"']+)""", re.IGNORECASE)
NOT_LOADED = re.compile(
    r'<link\b[^>]*\brel="(?:canonical|alternate|license|author|next|prev|search|index)"',
    re.IGNORECASE)


def third_parties(page: str) -> list[str]:
    """Addresses outside the book that the HTML ``page`` would load; links to follow are none."""
    return [m[1] for m in LOADED.finditer(page) if not NOT_LOADED.match(m[0])]


def mend(page: str) -> str:
    """The HTML ``page`` with accessibility faults mended and the security policy in its head."""
    for fault, repair in MENDED:
        page = fault.sub(repair, page)
    return page if POLICY in page else page.replace(CHARSET, CHARSET + POLICY, 1)


def redirect(title: str, first: str, language: str) -> str:
    """A page that sends the reader on to ``first``."""
    title, first = html.escape(title), html.escape(first)
    return (
        f'<!DOCTYPE html>\n<html lang="{language}"><head>{CHARSET}<title>{title}</title>'
        f'<meta http-equiv="refresh" content="0; url={first}"></head>'
        f'<body><main><h1>{title}</h1><p><a href="{first}">Open the book</a></p></main>'
        "</body></html>\n")


def not_found(title: str, home: str, first: str, language: str) -> str:
    """The page for an address that does not exist, with links below ``home`` ("" or ".../").

    A server sends it for any address, so that it can load nothing by a relative one.
    """
    title, home, first = html.escape(title), html.escape(home), html.escape(first)
    return (
        f'<!DOCTYPE html>\n<html lang="{language}"><head>{CHARSET}<title>Not here: {title}</title>'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        '<link rel="icon" href="data:,">'
        "<style>:root { color-scheme: light dark; } body { max-width: 36rem; margin: 4rem auto; "
        "padding: 0 1rem; font: 1.1rem/1.6 sans-serif; }</style></head>"
        "<body><main><h1>This page is not here</h1><p>The address is wrong, or the page has a new "
        f'one.</p><ul><li><a href="{home}{first}">First page of {title}</a></li>'
        f'<li><a href="{home}search.html">Search</a></li></ul></main></body></html>\n')


def add_buttons(app: Sphinx, config: Config) -> None:
    """Show what needs the repository's address only where it is known."""
    options = config.html_theme_options
    repository = options.get("repository_url")
    known = bool(repository)
    if config.html_baseurl == repository:
        # Jupyter Book takes the repository for the published book, which would name wrong pages.
        config.html_baseurl = ""
    options["use_repository_button"] = options["use_issues_button"] = known
    options["launch_buttons"] = {"colab_url": COLAB} if known else {}


def say_how_to_run(app: Sphinx, pagename: str, template: str, context: dict, doctree) -> None:
    """Below the title of each lab's page: where its exercises can be done."""
    lab = re.match(r"notebooks/(\d\d)_", pagename)
    if not lab or "body" not in context:
        return
    known = bool(app.config.html_theme_options.get("repository_url"))
    note = TO_RUN.format(
        number=lab[1], elsewhere=", or on Colab with the rocket above" * known,
        how=f"{context['pathto']('book/how_to_use')}#do-the-exercises")
    context["body"] = context["body"].replace("</h1>", f"</h1>\n{note}", 1)


def carry_mathjax(app: Sphinx) -> None:
    """Copy MathJax and its fonts into the built book."""
    if app.builder.format != "html":
        return
    package = importlib.util.find_spec("sphinx-mathjax-offline")
    if package is None:
        raise ExtensionError("sphinx-mathjax-offline is not installed, expected it to carry "
                             "MathJax; `make book` installs it")
    source = Path(package.origin).parent / "static/mathjax"
    target = Path(app.outdir, "_static/vendor/mathjax")
    fonts = "output/chtml/fonts/woff-v2"
    shutil.copytree(source / fonts, target / fonts, dirs_exist_ok=True)
    shutil.copy(source / "tex-chtml-full.js", target)


def finish(app: Sphinx, exception: Exception | None) -> None:
    """Mend each page, write the page at the root, and refuse third parties."""
    if exception or app.builder.name != "html":
        return
    out = Path(app.outdir)
    first = f"{app.config.root_doc}.html"
    title, language = app.config.html_title, app.config.language or "en"
    (out / "index.html").write_text(redirect(title, first, language), encoding="utf-8")
    page = not_found(title, app.config.html_baseurl, first, language)
    (out / "404.html").write_text(page, encoding="utf-8")
    found = []
    for path in sorted(out.rglob("*.html")):
        if {"_static", "_sources"} & set(path.relative_to(out).parts):
            continue
        page = mend(path.read_text(encoding="utf-8"))
        path.write_text(page, encoding="utf-8")
        found += [f"{path.relative_to(out)} loads {address}" for address in third_parties(page)]
    if found:
        raise ExtensionError("The book must be readable offline, but\n" + "\n".join(found))


def setup(app: Sphinx) -> dict[str, object]:
    app.connect("config-inited", add_buttons, priority=900)
    app.connect("builder-inited", carry_mathjax)
    app.connect("html-page-context", say_how_to_run)
    app.connect("build-finished", finish, priority=900)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
