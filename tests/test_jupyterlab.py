"""Moving figures and widgets where a kernel runs: a real JupyterLab, a real browser, real keys.

Each test takes a server and minutes of labs, so all run with ``make test-deployment``.
"""

import os
import secrets
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook
from playwright.sync_api import Locator, Page, expect, sync_playwright

from browser import FLAGS, HEIGHT, WIDTHS, find_chromium
from labs import KERNEL

ROOT = Path(__file__).parents[1]
MINUTE = 60_000  # in milliseconds, as the browser counts
pytestmark = [
    pytest.mark.deployment,
    pytest.mark.skipif(find_chromium() is None, reason="no Chromium here; install one or name it "
                                                       "in LEAKLAB_CHROMIUM"),
]

FIGURE = """\
import numpy as np
from leaklab.teaching.scrubber import scrubber
frames = np.linspace(0, 1, 4 * 2 * 6 * 8).reshape(4, 2, 6, 8)
scrubber(frames, [f"step {k}" for k in range(4)], name="Step", alt="a ramp")"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("jupyterlab")


@pytest.fixture(scope="module")
def lab(folder) -> Iterator[str]:
    """The address of a JupyterLab over ``folder/work``, with ``{}`` where the notebook goes.

    Its settings and the signatures of trusted notebooks are its own: nothing is trusted yet.
    """
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    token, work = secrets.token_hex(16), folder / "work"
    work.mkdir()
    own = {name: str(folder / name.lower()) for name in (
        "JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR", "JUPYTER_RUNTIME_DIR", "JUPYTERLAB_SETTINGS_DIR",
        "JUPYTERLAB_WORKSPACES_DIR", "IPYTHONDIR")}
    paths = os.pathsep.join(filter(None, [str(ROOT / "src"), os.environ.get("PYTHONPATH")]))
    with (folder / "log").open("w") as log:
        server = subprocess.Popen(
            [sys.executable, "-m", "jupyterlab", "--no-browser", "--allow-root", "--ip=127.0.0.1",
             f"--port={port}", "--ServerApp.port_retries=0", f"--IdentityProvider.token={token}",
             f"--ServerApp.root_dir={work}", "--LabApp.extension_manager=readonly",
             "--LabApp.news_url=None",
             "--LabApp.check_for_updates_class=jupyterlab.NeverCheckForUpdate"],
            env=os.environ | own | {"PYTHONPATH": paths}, stdout=log, stderr=log)
    try:
        answers(f"http://127.0.0.1:{port}/api/status?token={token}", server, folder / "log")
        yield f"http://127.0.0.1:{port}/lab/tree/{{}}?token={token}&reset"
    finally:
        server.terminate()
        server.wait(30)


def answers(url: str, server: subprocess.Popen, log: Path) -> None:
    """Return once ``url`` answers; fail with the server's log where it ends or takes too long."""
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and server.poll() is None:
        try:
            return urllib.request.urlopen(url, timeout=5).close()
        except (urllib.error.URLError, TimeoutError):
            time.sleep(0.3)
    pytest.fail(f"JupyterLab did not start:\n{log.read_text()[-3000:]}")


@pytest.fixture(scope="module")
def chromium():
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=find_chromium(), args=list(FLAGS))
        yield chromium
        chromium.close()


@pytest.fixture
def page(chromium):
    page = chromium.new_page(viewport={"width": WIDTHS["desktop"], "height": HEIGHT})
    page.set_default_timeout(MINUTE)
    yield page
    page.close()


def stored(folder: Path, name: str, notebook: nbformat.NotebookNode) -> str:
    nbformat.write(notebook, folder / "work" / name)
    return name


def small(*sources: str) -> nbformat.NotebookNode:
    """A notebook with these code cells between two of text, as if it came from elsewhere."""
    cells = [new_code_cell(source) for source in sources]
    return new_notebook(cells=[new_markdown_cell("First"), *cells, new_markdown_cell("Last")],
                        metadata={"kernelspec": KERNEL})


def executed(notebook: nbformat.NotebookNode) -> nbformat.NotebookNode:
    """The same with the output of its figure stored."""
    from leaklab.teaching.scrubber import scrubber  # noqa: F401 - what the cell imports

    names: dict = {}
    *lines, last = FIGURE.splitlines()
    exec("\n".join(lines), names)
    bundle = eval(last, names)._repr_mimebundle_()
    notebook.cells[1].outputs = [nbformat.v4.new_output("display_data", bundle)]
    notebook.cells[1].execution_count = 1
    return notebook


def open_notebook(page: Page, lab: str, name: str) -> Locator:
    """The notebook ``name``, once its kernel is idle and the page is connected to it."""
    page.goto(lab.format(name))
    notebook = page.locator(".jp-NotebookPanel:not(.lm-mod-hidden) .jp-Notebook")
    notebook.locator(".jp-Cell").first.wait_for()
    sessions = lab.replace("/lab/tree/{}", "/api/sessions")
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        kernels = [s["kernel"] for s in page.request.get(sessions).json() if s["path"] == name]
        if any(k["connections"] and k["execution_state"] == "idle" for k in kernels):
            page.locator(".jp-Notebook-ExecutionIndicator[data-status=idle]").wait_for()
            return notebook
        page.wait_for_timeout(500)
    pytest.fail(f"{name}: no kernel after two minutes")


def run_all(page: Page) -> None:
    page.get_by_role("menuitem", name="Run", exact=True).click()
    page.get_by_role("menuitem", name="Run All Cells", exact=True).click()


def active(notebook: Locator) -> tuple[int, int]:
    """How many cells there are, and which of them is active."""
    return notebook.evaluate(
        "book => { const cells = [...book.querySelectorAll('.jp-Cell')];"
        " return [cells.length, cells.findIndex(c => c.classList.contains('jp-mod-active'))]; }")


def walk(page: Page, figure: Locator) -> None:
    """Press keys on the slider of ``figure``, the ramp of four steps, and see it follow."""
    slider, output, view = (figure.get_by_role("slider", name="Step"), figure.locator("output"),
                            figure.locator("[role=img]"))
    slider.focus()
    seen = {}
    for key, step in (("Home", 0), ("ArrowRight", 1), ("ArrowUp", 2), ("ArrowDown", 1),
                      ("End", 3), ("ArrowLeft", 2)):
        page.keyboard.press(key)
        expect(output).to_have_text(f"step {step}")
        expect(slider).to_have_attribute("aria-valuetext", f"step {step}")
        picture = view.screenshot(animations="disabled")
        assert seen.setdefault(step, picture) == picture
    assert len(set(seen.values())) == 4
    page.keyboard.press("Home")
    page.keyboard.press("Shift+Tab")
    page.keyboard.press("Space")
    expect(output).to_have_text("step 3")  # it played to the end


def test_a_scrubber_follows_keys_and_jupyterlab_leaves_them_to_it(folder, lab, page):
    notebook = open_notebook(page, lab, stored(folder, "run.ipynb", small(FIGURE)))
    notebook.locator(".jp-CodeCell .cm-content").first.click()
    page.keyboard.press("Control+Enter")
    figure = notebook.locator("figure[data-scrubber]")
    figure.get_by_role("slider").wait_for()
    before = active(notebook)
    walk(page, figure)
    figure.get_by_role("slider").focus()
    for key in ("a", "b", "d", "d", "m", "x", "ArrowDown", "ArrowUp"):
        page.keyboard.press(key)
    page.wait_for_timeout(500)
    assert active(notebook) == before, "a shortcut of JupyterLab was triggered"
    # the same key does add a cell where the notebook has the focus: shortcuts are alive
    notebook.locator(".jp-MarkdownCell").last.click()
    page.keyboard.press("Escape")
    page.keyboard.press("b")
    expect(notebook.locator(".jp-Cell")).to_have_count(before[0] + 1)


def test_a_stored_scrubber_is_a_contact_sheet_until_the_notebook_is_trusted(folder, lab, page):
    name = stored(folder, "stored.ipynb", executed(small(FIGURE)))
    notebook = open_notebook(page, lab, name)
    sheet = notebook.locator(".jp-OutputArea-output img")
    expect(sheet).to_be_visible()
    assert sheet.evaluate("image => image.complete && image.naturalWidth") == 4 * 8
    assert "One column per step" in sheet.get_attribute("alt")
    assert notebook.get_by_role("slider").count() == 0
    page.get_by_role("menuitem", name="View", exact=True).click()
    page.get_by_text("Activate Command Palette", exact=True).click()
    expect(page.locator(".lm-CommandPalette-input")).to_be_focused()
    page.keyboard.type("Trust Notebook")
    page.keyboard.press("Enter")
    page.locator(".jp-Dialog .jp-mod-accept", has_text="Trust").click()
    figure = notebook.locator("figure[data-scrubber]")
    figure.get_by_role("slider").wait_for()
    walk(page, figure)
    page.keyboard.press("Control+s")
    page.wait_for_timeout(2000)
    again = open_notebook(page, lab, name)
    again.get_by_role("slider").wait_for()
    walk(page, again.locator("figure[data-scrubber]"))


def switched_on(number: str, **switches: str) -> nbformat.NotebookNode:
    """A lab with its outputs removed and the lines ``name = False`` made true."""
    path = next((ROOT / "notebooks").glob(f"{number}_*.ipynb"))
    notebook = nbformat.read(path, as_version=4)
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None
    for name, value in switches.items():
        cells = [c for c in notebook.cells if f"{name} = False" in c.source]
        assert len(cells) == 1, (number, name)
        cells[0].source = cells[0].source.replace(f"{name} = False", f"{name} = {value}")
    return notebook


@pytest.mark.parametrize(("number", "slider"), [("18", "mu"), ("20", "tolerated")])
def test_the_explorer_of_a_lab_follows_keys(folder, lab, page, number, slider):
    name = stored(folder, f"{number}.ipynb", switched_on(number, LIVE="True"))
    notebook = open_notebook(page, lab, name)
    run_all(page)
    widget = notebook.locator(".widget-interact")
    widget.wait_for(timeout=5 * MINUTE)
    pictures = widget.locator(".jp-OutputArea-output img")
    expect(pictures).to_have_count(1)  # a figure that is returned and shown would stand twice
    first = pictures.get_attribute("src")
    handle, readout = widget.locator(".noUi-handle"), widget.locator(".widget-readout")
    value = readout.inner_text()
    assert slider in widget.locator(".widget-hslider .widget-label").inner_text()
    handle.focus()
    page.keyboard.press("ArrowRight")
    expect(readout).not_to_have_text(value)
    expect(pictures).not_to_have_attribute("src", first)
    expect(pictures).to_have_count(1)


def test_the_form_of_lab_19_takes_what_is_typed_and_says_what_is_missing(folder, lab, page):
    name = stored(folder, "19.ipynb", switched_on("19", FORM="True"))
    notebook = open_notebook(page, lab, name)
    run_all(page)
    button = notebook.get_by_role("button", name="Assess")
    button.wait_for(timeout=5 * MINUTE)
    hospitals, said = notebook.get_by_label("hospitals"), notebook.locator(".widget-html").last
    hospitals.focus()
    page.keyboard.press("Control+a")
    page.keyboard.type("7")
    button.focus()
    page.keyboard.press("Enter")
    expect(said).to_contain_text("Filled in.", timeout=2 * MINUTE)  # the lab runs on meanwhile
    because = notebook.get_by_label("because")
    because.focus()
    page.keyboard.press("Control+a")
    page.keyboard.press("Delete")
    button.focus()
    page.keyboard.press("Enter")
    expect(said).to_contain_text("Not assessed.")
    expect(said).to_contain_text("severity")
