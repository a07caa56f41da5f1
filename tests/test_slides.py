"""Slides hold what the chapter's page and its lab hold, open from a disk, and obey the keyboard."""

import re
import sys
from pathlib import Path

import numpy as np
import pytest
from bs4 import BeautifulSoup
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from leaklab.teaching import scrubber

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "tools"))
sys.path.insert(0, str(ROOT / "book/_ext"))
import bookkit  # noqa: E402

import browser  # noqa: E402
import chapter_map  # noqa: E402
import slide_check  # noqa: E402
import slide_deck  # noqa: E402
import slide_pages  # noqa: E402
import slides  # noqa: E402
from in_browser import needs_chromium  # noqa: E402

SHELL = "<html><body><nav>Not this</nav><article><section>{}</section></article></body></html>"
PAGE = """<h1><span class="section-number">3. </span>Leaks: read a record</h1>
<p>An update holds a record. <a href="../notebooks/03_leaks.html">The lab</a> reads it.</p>
<div class="admonition"><p class="admonition-title">You will be able to</p>
<ul><li><p>read a record;</p></li></ul></div>
<section><h2>Divide<a class="headerlink">#</a></h2>
<p>The layer is dense. By the chain rule</p>
<div class="math notranslate" id="eq"><span class="eqno">(3.1)<a class="headerlink">#</a></span>
\\[g = s\\, x^\\top\\]</div>
<p>with <span class="math">\\(s\\)</span> the slopes. The rest follows.</p>
<p>What limits it:</p>
<div><table><thead><tr><th>What</th></tr></thead><tbody><tr><td>noise</td></tr></tbody></table></div>
</section>
<section><h2>Prose alone</h2><p>Nothing to show.</p></section>
<section><h2>Check what you know</h2><ol><li><p>Is it read?</p><ul><li><p>(a) no</p></li>
<li><p>(b) yes</p></li></ul><details><summary>Answer</summary><div><p><b>(b)</b> By division.</p>
</div></details></li></ol></section>"""
CELL = '<div class="cell"><div class="cell_output">{}</div></div>'
PICTURE = CELL.format('<img alt="Three lines" src="../_images/lines.png">')
RESULT = CELL.format("<pre>rank   2\nread   1.00\n"
                     "batch_04: seed 0 repeats its recorded run\nguess  0.10\n</pre>")
LAB = f"""<h1>Lab 3: leaks</h1><p>You need lab 2.</p>
<section><h2>Read a batch</h2><p>The patients are real.</p>
<blockquote><p><b>Threat model.</b> The server is passive. It knows the model.</p></blockquote>
<p>Draw it.</p>{PICTURE}<p>Each neuron lies on a line. More is in the notes.</p>
{RESULT}<p>The rank tells.</p></section>
<section><h2>Make it fail on purpose</h2><p>Read another patient.</p><p>Nobody is found.</p>
</section>
<section><h2>Exercise: divide it out</h2>
<p>Level: easy, 5 minutes. Why: it is old. Return it.</p></section>
<section><h2>What we learnt</h2><ul><li><p>One division is enough.</p></li></ul></section>
<section><h2>Limits</h2><ul><li><p>The network is small.</p></li></ul></section>
<section><h2>Further reading</h2>
<ul><li><p><a href="https://doi.org/10.1/1">Phong</a></p></li></ul></section>"""

EXAM = """<h1>Examination: questions and answers</h1><p>Ninety minutes.</p>
<section><h2>Ask about leaks</h2><ol><li><p>Show it.</p><details><summary>Model answer</summary>
<div><p>Divide (2 points).</p><div class="highlight"><pre>>>> 1</pre></div></div></details></li>
</ol></section>"""


@pytest.fixture
def built(tmp_path):
    """A book of one chapter as it is built, and the files that plan it."""
    for name, text in {"book/03_leaks.html": PAGE, "notebooks/03_leaks.html": LAB,
                       "book/exam.html": EXAM}.items():
        (tmp_path / "html" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "html" / name).write_text(SHELL.format(text), encoding="utf-8")
    picture(tmp_path / "html/_images/lines.png")
    (tmp_path / "book").mkdir()
    (tmp_path / "book/chapters.yml").write_text("- part: First\n  chapters:\n    03_leaks: Leaks\n")
    (tmp_path / "_toc.yml").write_text("chapters:\n- file: book/03_leaks\n")
    (tmp_path / "_config.yml").write_text("title: A & B\n")
    return tmp_path


def picture(path):
    path.parent.mkdir()
    Image.new("RGB", (640, 480), "red").save(path)


def edited(built, name, old, new):
    """The deck of the small book after ``old`` in one of its two pages has become ``new``."""
    path = built / "html" / name / "03_leaks.html"
    text = path.read_text(encoding="utf-8")
    assert old in text
    path.write_text(text.replace(old, new), encoding="utf-8")
    return made(built)


def made(built):
    page, lab = (slide_pages.article(built / "html" / name / "03_leaks.html")
                 for name in ("book", "notebooks"))
    return slide_deck.deck("03_leaks", page, lab)


def text(markup):
    return " ".join(BeautifulSoup(markup, "html.parser").get_text(" ").split())


# --- What is on the slides -------------------------------------------------------------------


def test_a_deck_follows_the_page_and_then_the_lab(built):
    deck = made(built)
    assert [(s.kind, text(s.title)) for s in deck.slides] == [
        ("title", "Leaks"), ("outcomes", "You will be able to"), ("threat", "Threat model"),
        ("idea", "Divide 1 of 2"), ("idea", "Divide 2 of 2"),
        ("result", "Read a batch 1 of 2"), ("result", "Read a batch 2 of 2"),
        ("control", "Make it fail on purpose"), ("quiz", "Check what you know: question 1"),
        ("findings", "What we learnt"), ("findings", "Limits"), ("exercises", "Now you"),
        ("reading", "Further reading")]


def test_each_slide_shows_its_thing_with_the_sentence_that_reads_it(built):
    slides = made(built).slides
    bodies = [text(slide.body) for slide in slides]
    assert bodies[0] == "Chapter 3 Read a record An update holds a record. The lab reads it."
    assert bodies[2] == "The server is passive. It knows the model."
    assert bodies[3].startswith("The layer is dense. By the chain rule g = s")
    assert bodies[3].endswith("(3.1) with s the slopes. The rest follows.")
    assert bodies[4] == "What limits it: What noise"
    assert bodies[5] == "Each neuron lies on a line. More is in the notes."
    assert bodies[6] == "rank 2 read 1.00 guess 0.10 The rank tells."  # not the check of the record
    assert bodies[7] == "Read another patient. Nobody is found."
    assert bodies[11] == "Divide it out easy, 5 minutes Why: it is old."


def test_printed_lines_stand_between_what_was_done_and_what_it_says(built):
    deck = edited(built, "notebooks", "<p>Nobody is found.</p>",
                  CELL.format("<pre>read 0.00</pre>") + "<p>Nobody is found. Why?</p>")
    control = next(slide for slide in deck.slides if slide.kind == "control")
    assert text(control.body) == "Read another patient. read 0.00 Nobody is found."


def test_what_points_into_the_book_is_no_source(built):
    deck = edited(built, "notebooks", "Phong</a></p></li>",
                  'Phong</a></p></li><li><p><a href="../book/03.html">The idea</a></p></li>')
    assert text(deck.slides[-1].body) == "Phong"


def test_a_section_is_read_to_the_end_by_the_notes_of_its_slides(built):
    by_title = [text(s.notes) for s in made(built).slides if s.title.startswith("Read a batch")]
    assert by_title == ["The patients are real. Draw it. Each neuron lies on a line. "
                        "More is in the notes.", "The rank tells."]


def test_an_answer_comes_on_the_next_step_and_to_the_speaker(built):
    quiz = next(slide for slide in made(built).slides if slide.kind == "quiz")
    body = BeautifulSoup(quiz.body, "html.parser")
    assert text(str(body.select_one(".fragment").extract())) == "(b) By division."
    assert "division" not in body.get_text() and "division" in quiz.notes


def test_pictures_and_formulas_are_inside_and_links_of_the_book_are_not(built):
    bodies = "".join(slide.body + slide.notes for slide in made(built).slides)
    assert 'alt="Three lines"' in bodies and 'src="data:image/png;base64,' in bodies
    assert "<math" in bodies and "\\" not in bodies
    assert bodies.count("https://doi.org/10.1/1") == 2
    assert "03_leaks.html" not in bodies


def test_the_examination_is_a_deck_of_its_questions_without_their_code(built):
    deck = slide_deck.examination(slide_pages.article(built / "html/book/exam.html"))
    assert [(s.kind, s.title, text(s.body)) for s in deck.slides] == [
        ("title", "Examination", "Questions and answers Ninety minutes."),
        ("quiz", "Question 1", "Show it. Divide (2 points).")]
    with pytest.raises(ValueError, match="exam: Question 1: no folded answer"):
        page = slide_pages.article(built / "html/book/exam.html")
        page.details.name = "div"
        slide_deck.examination(page)


def test_a_lab_that_attacks_nothing_has_no_threat_model(built):
    deck = edited(built, "notebooks", "Threat model.", "A remark.")
    assert "threat" not in {slide.kind for slide in deck.slides}


@pytest.mark.parametrize(("name", "old", "new", "said"), [
    ("book", "You will be able to", "Aims", "03_leaks: no box 'You will be able to' on the page"),
    ("book", "Check what you know", "Quiz", "03_leaks: no section 'Check what you know'"),
    ("book", "details>", "div>", "question 1: no folded answer, expected one"),
    ("notebooks", "Make it fail on purpose", "Fail", "no section 'Make it fail on purpose'"),
    ("notebooks", "Limits", "Bounds", "03_leaks: no section 'Limits' in the lab"),
    ("notebooks", 'alt="Three lines"', "", "03_leaks.html: no alternative text for ../_images"),
    ("notebooks", "lines.png", "gone.png", "no picture ../_images/gone.png, expected a file"),
    ("book", "article>", "main>", "03_leaks.html: no article with a title"),
])
def test_what_a_chapter_lacks_is_named(built, name, old, new, said):
    with pytest.raises(ValueError, match=re.escape(said)):
        edited(built, name, old, new)


# --- The pieces ------------------------------------------------------------------------------


@pytest.mark.parametrize(("given_text", "expected"), [
    ("One. Two? Three!", ["One.", "Two?", "Three!"]),
    ("Zhu et al. (2019) read 0.5 of it. So do we.", ["Zhu et al. (2019) read 0.5 of it.",
                                                      "So do we."]),
    ("<b>Low rank.</b> It is low.", ["<b>Low rank.</b>", "It is low."]),
    ("<em>One. Two.</em> Three.", ["<em>One. Two.</em>", "Three."]),
    ("Take, e.g. Bonn, i.e. one.", ["Take, e.g. Bonn, i.e. one."]),
    ("He said “no.” Then he left.", ["He said “no.”", "Then he left."]),
])
def test_sentences(given_text, expected):
    assert slide_pages.sentences(given_text) == expected


@pytest.mark.parametrize(("given_text", "expected"), [
    ("with x the record. It is read.", "It is read."),
    ("It is read. With n the number the sum is then", "It is read."),
    ("It is read. Does that protect?", "It is read."),
    ("It is read. Now the attack:", "It is read."),
    ("Who is it? Was it she?", "Who is it? Was it she?"),
    ("<code>guess</code> is a guess.", "<code>guess</code> is a guess."),
    ("", ""),
])
def test_what_leads_past_a_slide_is_not_told(given_text, expected):
    assert slide_pages.told(given_text) == expected


def test_no_sentence_is_said_twice():
    said = set()
    assert slide_pages.unsaid("A one. A two.", said) == "A one. A two."
    assert slide_pages.unsaid("A two. A three.", said) == "A three."
    assert not slide_pages.unsaid("A four. A two.", said)  # what stands by the thing was said


WORDS = ("One.", "Two words?", "<em>x. Y</em>", "et al.", "<b>A.</b>", "3")


@given(st.lists(st.sampled_from(WORDS)))
def test_no_sentence_loses_a_word_or_cuts_an_element(words):
    whole = " ".join(words)
    parts = slide_pages.sentences(whole)
    assert " ".join(parts) == whole
    assert all(map(slide_pages.balanced, parts))


@pytest.mark.parametrize("tex", [
    r"\begin{split} \begin{aligned} a &= b \\ &= c \end{aligned} \end{split}",
    r"\arg\min_x \lVert x \rVert^2", r"\bigl(a\bigr)^\top", r"\frac{1}{2}\|w - v\|^2",
])
def test_no_tex_is_left_in_a_formula(tex):
    formula = BeautifulSoup(f'<div class="math">\\[{tex}\\]</div>', "html.parser").div
    slide_pages.set_formula(formula)
    assert formula.math is not None
    assert not set("\\&") & set(formula.get_text())


def test_a_long_table_is_cut_between_its_rows():
    rows = [f"<tr><td>{number:03d}{'x' * 200}</td></tr>" for number in range(11)]
    table = BeautifulSoup(f"<table><thead><tr><th>H</th></tr></thead><tbody>{''.join(rows)}"
                          "</tbody></table>", "html.parser").table
    parts = slide_pages.split_table(table)
    assert [part.count("<td>") for part in parts] == [3, 4, 4]
    assert re.findall(r"<td>(\d+)", "".join(parts)) == [f"{n:03d}" for n in range(11)]
    assert all("<th>H</th>" in part for part in parts)


def test_a_deck_is_one_file_that_asks_nobody(built):
    files = slides.write(built / "html", built / "slides", built)
    assert [file.name for file in files] == ["03_leaks.html", "exam.html", "index.html"]
    for file in files:
        page = file.read_text(encoding="utf-8")
        assert bookkit.third_parties(page) == []
        assert set(re.findall('src="([^:]*)', page.partition("<script>")[0])) <= {"data"}
        assert "default-src 'none'" in page and "A &amp; B" in page
    assert '<a href="03_leaks.html">Leaks</a> <small>13 slides</small>' in page


# --- In a browser ----------------------------------------------------------------------------


@needs_chromium
def test_the_keyboard_leads_through_a_deck(built):
    slides.write(built / "html", built / "slides", built)
    with browser.opened(built) as (_, context):
        page = context.new_page()
        page.goto((built / "slides/03_leaks.html").as_uri())
        page.wait_for_function(slide_check.READY)
        place, answer = "Reveal.getIndices().h", page.locator(".answer")
        for key, expected in (("ArrowRight", 1), ("ArrowLeft", 0), ("End", 12), ("Home", 0)):
            page.keyboard.press(key)
            assert page.evaluate(place) == expected, key
        page.evaluate("Reveal.slide(8)")
        assert "visible" not in answer.get_attribute("class")
        page.keyboard.press("ArrowRight")
        assert "visible" in answer.get_attribute("class") and page.evaluate(place) == 8
        notes, theme = page.locator("#notes"), "document.documentElement.dataset.theme"
        page.keyboard.press("n")
        assert notes.inner_text().strip() == "(b) By division."
        page.keyboard.press("ArrowRight")
        assert notes.inner_text().strip() == "One division is enough."
        page.keyboard.press("d")
        assert page.evaluate(theme) == "dark"
        with context.expect_page() as opened:
            page.keyboard.press("s")
        frame = opened.value.frame_locator("#current-slide iframe")
        frame.locator(".reveal.ready").wait_for()
        assert "One division" in opened.value.locator(".speaker-controls-notes").inner_text()
        page.keyboard.press("f")
        page.wait_for_function("document.fullscreenElement !== null")


@needs_chromium
def test_a_slider_on_a_slide_keeps_the_arrows_to_itself(built):
    film = scrubber.scrubber(np.linspace(0, 1, 48).reshape(3, 1, 4, 4), ["one", "two", "three"],
                             name="Round", alt="A grey square")
    edited(built, "notebooks", PICTURE, CELL.format(film.html))
    slides.write(built / "html", built / "slides", built)
    with browser.opened(built) as (_, context):
        page = context.new_page()
        page.goto((built / "slides/03_leaks.html#/5").as_uri().replace("%23", "#"))
        page.wait_for_function(slide_check.READY)
        slider = page.locator("section.present input[type=range]")
        slider.focus()
        page.keyboard.press("ArrowRight")
        assert slider.get_attribute("aria-valuetext") == "two"
        assert page.evaluate("Reveal.getIndices().h") == 5
        slider.blur()
        page.keyboard.press("ArrowRight")
        assert page.evaluate("Reveal.getIndices().h") == 6


@needs_chromium
@pytest.mark.parametrize("width", [1280, 390])
def test_a_deck_prints_one_slide_a_page(built, width):
    slides.write(built / "html", built / "slides", built)
    with browser.opened(built) as (_, context):
        page = context.new_page()
        page.set_viewport_size({"width": width, "height": 720})
        page.goto((built / "slides/03_leaks.html").as_uri(), wait_until="networkidle")
        printed = page.pdf(prefer_css_page_size=True, print_background=True)
    assert printed.count(b"/Type /Page\n") == 13
    assert re.findall(rb"/MediaBox \[0 0 (\d+)(?:\.\d+)? (\d+)", printed)[0] == (b"960", b"540")


TITLE = "<h2>Title</h2>"
FAULTY = [  # the title of a slide, what is on it, and how the report must name it
    (TITLE, "", "empty"), ("", "Text", "no title"), (TITLE, "<p>Line</p>" * 60, "too full"),
    (TITLE, '<p><b style="display: block; width: 1400px">Wide</b></p>', "<b> reaches beyond it"),
    (TITLE, '<pre style="font-size: 9px">Tiny</pre>', "lines of 9 px, expected at least 15"),
    (TITLE, '<img src="data:image/gif;base64,R0lGODlhAQABAAAAACw=">',
     "a picture has no text alternative"),
    (TITLE, '<img alt="Gone" src="data:image/png;base64,AA">', "a picture is missing"),
]
OUTSIDE = '<img alt="Gone" src="http://example.org/a.png"><script>nothing.here</script>'


@needs_chromium
def test_the_check_of_decks_reports_each_fault_and_no_sound_deck(tmp_path):
    empty = slides.render(slide_deck.Deck("x", "X", ()), "Course", "")

    def write(name, found, extra=""):
        markup = "".join(f'<section>{title}<div class="body">{body}</div></section>'
                         for title, body, *_ in found)
        (tmp_path / name).write_text(
            empty.replace('<div id="slides">\n', f'<div id="slides">{markup}', 1)
            .replace("</main>", f"</main>{extra}", 1))

    write("faulty.html", FAULTY, OUTSIDE)
    write("sound.html", [(TITLE, "<p>Text</p>")])
    faults = slide_check.check(tmp_path)
    assert [fault for fault in faults if fault.startswith("sound.html")] == []
    expected = [f"slide {place}: {said}" for place, (*_, said) in enumerate(FAULTY, 1)]
    for said in (*expected, "example.org", "script error", "axe image-alt"):
        assert any(said in fault for fault in faults), (said, faults)


def test_no_deck_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="folder: no deck in"):
        slide_check.check(tmp_path)


def test_the_plan_of_the_course_gives_each_deck_its_part():
    assert all(chapter.ready for part in chapter_map.read_plan() for chapter in part.chapters)
