"""The book builds without a warning, reads offline in a real browser, and agrees with its plan."""

import re
import shutil
import subprocess
import sys
from pathlib import Path
from random import Random
from xml.etree import ElementTree

import pytest
import yaml

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "book/_ext"))

import api  # noqa: E402
import bookkit  # noqa: E402
import tables  # noqa: E402

import accessibility  # noqa: E402
import book as book_tool  # noqa: E402
import browser  # noqa: E402
import chapter_map  # noqa: E402
import slide_check  # noqa: E402
import slides  # noqa: E402

needs_chromium = pytest.mark.skipif(
    browser.find_chromium() is None,
    reason="no Chromium here; install one or name it in LEAKLAB_CHROMIUM to check pages in it")


@pytest.fixture(scope="module")
def html():
    """The built book; built here if an input has changed. A warning fails the build."""
    return book_tool.build(ROOT).parents[1]


# --- The pages as a reader meets them --------------------------------------------------------


@needs_chromium
def test_every_page_is_sound_in_a_browser_without_a_network(html):
    assert browser.check(html) == []


@needs_chromium
def test_the_search_of_the_book_leads_to_the_chapter_of_a_term(html):
    found = browser.search(html, ["LiRA", "kinship", "breach", "nowhereinthebook"])
    for word, chapter in (("LiRA", "Membership"), ("kinship", "Imputation"), ("breach", "Breach")):
        assert [title for title in found[word] if chapter in title], (word, found[word])
    assert found["nowhereinthebook"] == []


@needs_chromium
def test_on_paper_a_page_is_light_and_bare_and_its_answers_are_open(html):
    with browser.opened(html) as (base, context):
        page = context.new_page()
        page.goto(f"{base}book/13_genotypes.html", wait_until="load")
        answer, bar = page.locator("details p").last, page.locator(".bd-sidebar-primary")
        page.evaluate(browser.THEME, "dark")
        assert bar.is_visible() and not answer.is_visible()
        page.emulate_media(media="print")
        page.evaluate("dispatchEvent(new Event('beforeprint'))")
        assert answer.is_visible() and not bar.is_visible()
        assert page.evaluate("document.documentElement.dataset.theme") == "light"
        page.evaluate("dispatchEvent(new Event('afterprint'))")
        assert page.evaluate("document.documentElement.dataset.theme") == "dark"


def test_the_page_for_a_wrong_address_needs_no_file_and_leads_to_the_book(html):
    page = (html / "404.html").read_text(encoding="utf-8")
    assert set(re.findall(r'href="([^"]+)"', page)) == {"data:,", "book/index.html", "search.html"}
    assert "src=" not in page
    published = bookkit.not_found("A & B", "https://a.example/book/", "index.html", "en")
    assert 'href="https://a.example/book/search.html"' in published and "A &amp; B" in published


FAULTY = {  # a page with one fault, and how the report must name it
    "third_party": ('<script src="http://example.org/a.js"></script>', "third party"),
    "missing_file": ('<img src="gone.png" alt="A picture that is not there">', "404 for gone.png"),
    "console": ("<script>console.error('broken')</script>", "console error: broken"),
    "script": ("<script>nothing.here</script>", "script error"),
    "no_alt": ('<img src="data:image/gif;base64,R0lGODlhAQABAAAAACw=">', "no alternative text"),
    "formula": ('<span class="math">\\(x^2\\)</span>', "mathematics not set: \\(x^2\\)"),
    "heavy": ('<script src="heavy.js"></script>', "bytes to load, expected at most 1,500,000"),
    "dark": ('<article><img src="clear.svg" alt="Black on nothing"></article>',
             "too dark in the dark theme: clear.svg"),
    "wide": ('<div style="width: 800px">wide</div>', "at 390 px"),
    "dead_page": ('<a href="nowhere.html">there</a>', "nowhere.html, no such page"),
    "dead_link_in_a_picture": ('<svg><a href="gone.html"><text>there</text></a></svg>',
                               "gone.html, no such page"),
    "dead_anchor": ('<a href="sound.html#gone">there</a>', "sound.html#gone, no such anchor"),
}
BARRIERS = {  # what only axe-core can tell
    "unnamed": ('<input type="text">', "axe label (desktop)"),
    "faint": ('<p style="color: #aaa; background: #fff">Faint</p>', "axe color-contrast (desktop)"),
    "faint_in_the_dark": ('<style>[data-theme="dark"] p { color: #333; background: #000; }</style>'
                          "<article><p>Faint</p></article>",
                          "axe color-contrast (dark)"),
    "faint_code": ('<div class="highlight"><pre><span class="k">def</span> '
                   '<span class="c" style="color: #ccc">first</span> '
                   '<span class="c" style="color: #ccc">again</span></pre></div>',
                   "axe color-contrast (desktop): Elements must meet minimum color contrast ratio "
                   "thresholds; 1 times"),
    "unreachable": ('<pre style="overflow-x: auto">' + "wide " * 20 + "</pre>",
                    "axe scrollable-region-focusable (phone)"),
}


@needs_chromium
def test_the_browser_check_reports_each_fault_and_no_sound_page(tmp_path):
    shell = ('<!DOCTYPE html><html lang="en"><head><meta charset="utf-8"><title>Page</title>'
             '<link rel="icon" href="data:,"></head><body><main>{}</main></body></html>')
    sound = ('<h1 id="top">Sound</h1><a href="sound.html#top">up</a>'
             '<a href="http://example.org/">elsewhere</a>')
    (tmp_path / "sound.html").write_text(shell.format(sound))
    (tmp_path / "clear.svg").write_text(
        '<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"><path d="M0 0h1v1z"/></svg>')
    noise = Random(0).randbytes(1_600_000).hex()  # cannot be compressed below half
    (tmp_path / "heavy.js").write_text(f"// {noise}")
    expected = FAULTY | (BARRIERS if accessibility.axe_core() else {})
    for name, (markup, _) in expected.items():
        (tmp_path / f"{name}.html").write_text(shell.format(markup))
    faults = browser.check(tmp_path)
    assert [f for f in faults if f.startswith("sound.html")] == []
    for name, (_, said) in expected.items():
        assert [f for f in faults if f.startswith(f"{name}.html") and said in f], (name, faults)


@needs_chromium
def test_a_folder_without_a_book_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"folder: no HTML page in .*, expected"):
        browser.check(tmp_path)


# --- The slides made from the pages ----------------------------------------------------------


@pytest.fixture(scope="module")
def decks(html, tmp_path_factory):
    return slides.write(html, tmp_path_factory.mktemp("slides"))


def test_each_chapter_has_a_deck_for_one_lecture(decks):
    counts = {file.stem: file.read_text(encoding="utf-8").count('<aside class="notes">')
              for file in decks if file.stem not in ("exam", "index")}
    assert set(counts) == {path.stem for path in (ROOT / "book").glob("[0-9][0-9]_*.md")}
    assert {name: n for name, n in counts.items() if not 15 <= n <= 32} == {}
    heavy = {file.name: size for file in decks if (size := file.stat().st_size) > 1_500_000}
    assert heavy == {}


@needs_chromium
def test_every_deck_is_sound_in_a_browser_from_the_disk(decks):
    assert slide_check.check(decks[0].parent) == []


# --- The built files ------------------------------------------------------------------------


def test_no_built_page_loads_anything_from_a_third_party(html):
    pages = [html / name for name in browser.pages(html)]
    assert pages
    assert {str(p): bookkit.third_parties(p.read_text(encoding="utf-8")) for p in pages
            if bookkit.third_parties(p.read_text(encoding="utf-8"))} == {}


def test_every_page_forbids_third_parties_and_the_root_leads_to_the_first_page(html):
    for name in browser.pages(html):
        assert (html / name).read_text(encoding="utf-8").count(bookkit.POLICY) == 1, name
    assert "url=book/index.html" in (html / "index.html").read_text(encoding="utf-8")


@pytest.mark.parametrize(("markup", "loaded"), [
    ('<script async src="https://a.example/x.js">', ["https://a.example/x.js"]),
    ('<link rel="stylesheet" href="//a.example/x.css">', ["//a.example/x.css"]),
    ('<img alt="" src="http://a.example/x.png">', ["http://a.example/x.png"]),
    ('<a href="https://a.example/">read</a>', []),
    ('<link rel="canonical" href="https://a.example/">', []),
    ('<script src="../_static/x.js">', []),
])
def test_third_parties_are_what_a_page_would_load(markup, loaded):
    assert bookkit.third_parties(markup) == loaded


def test_mending_a_page_twice_changes_nothing():
    page = (f'<head>{bookkit.CHARSET}</head><div id="pst-primary-sidebar" class="x">'
            '<summary><span class="toctree-toggle"></span></summary>'
            '<input class="task-list-item-checkbox" disabled="disabled" type="checkbox">'
            '<dl>\n<dd><em class="sig-param">a</em>,</dd>\n</dl><dl><dt>b</dt><dd>c</dd></dl>')
    once = bookkit.mend(page)
    assert 'role="navigation"' in once and once.count("aria-label=") == 3
    assert '<div><em class="sig-param">a</em>,</div>' in once and "<dt>b</dt><dd>c</dd>" in once
    assert bookkit.mend(once) == once


# --- The build ------------------------------------------------------------------------------


@pytest.fixture
def small_book(tmp_path):
    """A book of one page with the settings of the real one."""
    config = yaml.safe_load((ROOT / "_config.yml").read_text())
    (tmp_path / "_config.yml").write_text(yaml.safe_dump(config))
    (tmp_path / "_toc.yml").write_text("format: jb-book\nroot: book/index\n")
    shutil.copytree(ROOT / "book/_ext", tmp_path / "book/_ext")
    shutil.copytree(ROOT / "book/_assets", tmp_path / "book/_assets")
    shutil.copytree(ROOT / "tools", tmp_path / "tools")
    for stray in (".venv/lib/notes.md", ".pytest_cache/README.md", "notebooks/.hidden/a.md"):
        (tmp_path / stray).parent.mkdir(parents=True)
        (tmp_path / stray).write_text("# Not a page of the book\n")
    (tmp_path / "book/references.bib").write_text("")
    (tmp_path / "book/index.md").write_text("# A page\n\nA sentence.\n")
    return tmp_path


def test_warnings_and_third_parties_fail_the_build_which_leaves_nothing(small_book):
    faults = "[gone](gone.md), {term}`unknown`, {cite:p}`nobody`, ![x](https://a.example/x.png)"
    (small_book / "book/index.md").write_text(f"# A page\n\nSee {faults}.\n")
    with pytest.raises(RuntimeError, match="does not build without warnings") as raised:
        book_tool.build(small_book)
    for fault in ("gone.md", "unknown", "nobody", "index.html loads https://a.example/x.png"):
        assert fault in str(raised.value)
    assert "isn't included in any toctree" not in str(raised.value)
    assert not (small_book / "_build").exists()


def test_a_book_is_built_again_only_when_an_input_changes(small_book, monkeypatch):
    builds = []

    def jupyter_book(command, cwd, **_):
        builds.append(command)
        (cwd / "_build/html/book").mkdir(parents=True)
        (cwd / "_build/html/book/index.html").write_text("<h1>A page</h1>")
        return subprocess.CompletedProcess(command, 0)

    monkeypatch.setattr(subprocess, "run", jupyter_book)
    assert book_tool.build(small_book) == book_tool.build(small_book)
    assert len(builds) == 1
    for name in ("book/index.md", "_toc.yml", "book/_assets/book.css"):
        (small_book / name).write_text((small_book / name).read_text() + "\n")
        book_tool.build(small_book)
        book_tool.build(small_book)
    assert len(builds) == 4


# --- The plan -------------------------------------------------------------------------------


def test_the_map_of_chapters_is_up_to_date():
    drawn = chapter_map.draw(chapter_map.read_plan())
    assert chapter_map.TARGET.read_text(encoding="utf-8") == drawn, \
        "run: python tools/chapter_map.py"


PLAN = [chapter_map.Part("First", (chapter_map.Chapter("01_one", "One thing", True),
                                   chapter_map.Chapter("02_two", "B & C", True))),
        chapter_map.Part("Second", (chapter_map.Chapter("03_three", "Three", False),))]


def test_the_map_links_to_the_ready_chapters_only_inside_a_page():
    picture = chapter_map.draw(PLAN)
    inside = chapter_map.draw(PLAN, lambda chapter: f"{chapter.slug}.html?a&b")
    assert 'role="img"' in picture and "<a " not in picture
    assert 'role="group"' in inside  # links inside a picture would be hidden
    assert re.findall(r'<a href="([^"]+)">', inside) == ["01_one.html?a&amp;b",
                                                         "02_two.html?a&amp;b"]
    for drawn in (picture, inside):
        ElementTree.fromstring(drawn)
        names = re.findall(r"var\((--[\w-]+)(, #\w+)?\)", drawn)
        assert names and all(fallback for _, fallback in names)
        style = drawn.partition("<style>")[2].partition("</style>")[0]
        assert all(rule.strip().startswith(".chapter-map ") for rule in style.split("}")[:-1])


def test_the_chapters_that_are_ready_are_named_and_counted():
    assert tables.ready(PLAN) == (
        "**Ready now (2 of 3 chapters):** [chapter 1, one thing](/book/01_one.md), with "
        "[lab 1](/notebooks/01_one.ipynb); [chapter 2, b & C](/book/02_two.md), with "
        "[lab 2](/notebooks/02_two.ipynb).")
    assert tables.ready(PLAN[1:]) == "**Ready now (0 of 1 chapters):** none yet."


def test_a_complete_plan_marks_no_chapter():
    assert "Ready so far: 1 One thing, 2 B &amp; C." in chapter_map.draw(PLAN)
    assert ">planned</text>" in chapter_map.draw(PLAN)
    assert tables.ready(PLAN[:1]).startswith("**All chapters, each with its lab:** [chapter 1,")
    picture = chapter_map.draw(PLAN[:1])
    assert "Chapters: 1 One thing, 2 B &amp; C." in picture and ">ready</text>" not in picture


def test_the_first_page_leads_to_every_chapter_and_lab_that_is_ready(html):
    page = (html / "book/index.html").read_text(encoding="utf-8")
    article = page.partition("<article")[2].partition("</article>")[0]
    for chapter in (c for part in chapter_map.read_plan() for c in part.chapters if c.ready):
        drawn = article.partition('<svg')[2].partition("</svg>")[0]
        assert f'href="{chapter.slug}.html"' in drawn
        assert f'href="../notebooks/{chapter.slug}.html"' in article


def test_pages_have_one_name_everywhere():
    assert "title:" not in (ROOT / "_toc.yml").read_text()  # it would differ from the heading


def misplaced(plan, contents):
    """Complaints about a table of contents that departs from the plan of chapters."""
    written = {part["caption"]: part["chapters"] for part in contents["parts"]}
    found = []
    for part in plan:
        slugs = [chapter.slug for chapter in part.chapters]
        pages = [Path(entry["file"]).name for entry in written.get(part.name, [])]
        if pages != [slug for slug in slugs if slug in pages]:
            found.append(f"{part.name}: {pages}, expected some of {slugs} in this order")
        found += [f"{entry['file']}: expected its lab as its section"
                  for entry in written.get(part.name, [])
                  if [s["file"] for s in entry.get("sections", [])]
                  != [f"notebooks/{Path(entry['file']).name}"]]
    planned = {chapter.slug for part in plan for chapter in part.chapters}
    numbered = {Path(f).name for f in chapter_map.files(contents) if re.search(r"/\d\d_", f)}
    return found + [f"{slug}: not in book/chapters.yml" for slug in sorted(numbered - planned)]


def test_the_contents_follow_the_plan():
    contents = yaml.safe_load((ROOT / "_toc.yml").read_text())
    assert misplaced(chapter_map.read_plan(), contents) == []


@pytest.mark.parametrize("chapters", [
    ["02_what_crosses_the_wire", "01_federated_averaging"],  # in the wrong order
    ["03_exact_leakage"],                                    # in the wrong part
    ["21_unplanned"],
])
def test_contents_that_depart_from_the_plan_are_noticed(chapters):
    entries = [{"file": f"book/{c}", "sections": [{"file": f"notebooks/{c}"}]} for c in chapters]
    contents = {"parts": [{"caption": "Foundations", "chapters": entries}]}
    assert misplaced(chapter_map.read_plan(), contents)


def test_the_plan_has_twenty_chapters_numbered_in_order():
    numbers = [c.number for part in chapter_map.read_plan() for c in part.chapters]
    assert numbers == list(range(1, 21))


# --- Words ----------------------------------------------------------------------------------


def test_every_source_can_be_looked_up_and_is_cited():
    entries = re.split(r"^@", (ROOT / "book/references.bib").read_text(), flags=re.M)[1:]
    text = "\n".join(p.read_text() for p in (ROOT / "book").rglob("*.md"))
    text += "\n".join(p.read_text() for p in (ROOT / "notebooks/text").glob("*.md"))
    cited = {key.strip() for keys in re.findall(r"\{cite:[pt]\}`([^`]+)`", text)
             for key in keys.split(",")}
    claims = yaml.safe_load((ROOT / "book/claims.yml").read_text())["claims"]
    cited |= {key for claim in claims for key in claim["sources"]}
    for entry in entries:
        key = re.match(r"\w+\{([^,]+),", entry)[1]
        ids = re.findall(r"^ *(?:doi|eprint|url) = \{(.+?)\}", entry, flags=re.M)
        assert ids, f"{key}: no doi, no eprint and no url"
        assert key in cited or any(i in text for i in ids), f"{key}: cited nowhere"


@pytest.mark.parametrize("name", ["README.md", "CONTRIBUTING.md"])
def test_files_that_a_page_outside_the_book_names_exist(name):
    links = re.findall(r"\]\(([^)#]+)\)|src=\"([^\"]+)\"", (ROOT / name).read_text())
    targets = [a or b for a, b in links if not re.match(r"\w+:", a or b)]
    assert [t for t in targets if not (ROOT / t).exists()] == []


def test_the_data_page_shows_the_whole_registry(html):
    from leaklab.data import registry

    page = (html / "book/data.html").read_text(encoding="utf-8")
    assert [name for name in registry.FILES if name not in page] == []


@pytest.mark.parametrize(("place", "link"), [
    ("https://zenodo.org/records/1/files/a.npz?download=1",
     "[zenodo.org](https://zenodo.org/records/1)"),
    ("https://a.example/data/b.csv", "[a.example](https://a.example/data/)"),
    ("PyPI: carrier==1.0", "`carrier==1.0` (PyPI)"),
])
def test_a_link_to_data_starts_no_download(place, link):
    assert tables.source(place) == link


def test_every_public_name_is_in_the_built_reference(html):
    page = (html / "book/api.html").read_text(encoding="utf-8")
    anchors = set(re.findall(r'id="(leaklab[\w.]+)"', page))
    public = [f"{part.module}.{name}" for group in api.groups().values() for part in group.modules
              for name in part.of]
    assert public and [name for name in public if name not in anchors] == []


def test_sizes_are_written_with_a_sign_of_multiplication():
    assert tables.times("x of 28 x 28 x 28, 2 xy") == "x of 28 × 28 × 28, 2 xy"
