"""What axe-core finds on a page that keeps readers out: its serious and critical rules.

axe-core (Deque Systems, MPL-2.0, https://github.com/dequelabs/axe-core) is carried by the package
axe-playwright-python, whose script is taken only if its SHA-256 is the one that was read. Not every
barrier can be found by a script: axe-core does not see text inside pictures, for one.
"""

from __future__ import annotations

import hashlib
import importlib.util
from functools import cache
from pathlib import Path

from playwright.sync_api import Page

PACKAGE = "axe_playwright_python"
SHA256 = "84494fec757e4710dc751c8d7a636e457f4532f08f85c86dc9070133fbff53bc"  # axe-core 4.12.1

# Rules that the theme breaks and this book cannot mend, each with its reason. None is left: what
# it breaks is mended in book/_ext/bookkit.py, book/_assets/book.css and scripts/reading.js.
OF_THE_THEME: dict[str, str] = {}

# For each way to look at a page: the part of it, and which rules; some cannot differ from desktop.
VIEWS: dict[str, tuple[str, dict[str, object]]] = {
    "desktop": ("html", {}),
    "phone": ("html", {"runOnly": ["scrollable-region-focusable"]}),
    "dark": ("article", {"runOnly": ["color-contrast"]}),
}
# Without `preload`, which would ask for each style sheet once more, and with only one word of code
# or of a signature in each colour, since thousands of them take most of the time. They are thinned
# out in a document apart: in this one each change would move the ranges that axe-core left behind.
RUN = """async ([scope, options]) => {
    await new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)));
    const within = document.querySelector(scope) ?? document;
    const colours = new Set(), apart = document.implementation.createHTMLDocument();
    const code = [...within.querySelectorAll(".highlight pre, .sig")].map(box => {
        const thin = apart.importNode(box, true);
        thin.querySelectorAll("span").forEach(word => {
            const colour = `${word.parentElement.className} > ${word.className}`;
            if (colours.has(colour)) word.replaceWith(...word.childNodes);
            colours.add(colour);
        });
        thin.normalize();
        box.replaceWith(thin);
        return [box, thin];
    });
    const found = await axe.run(within, {...options, preload: false, resultTypes: ["violations"]});
    code.forEach(([box, thin]) => thin.replaceWith(box));
    return found.violations
        .filter(rule => ["serious", "critical"].includes(rule.impact))
        .map(rule => ({
            rule: rule.id, count: rule.nodes.length, what: rule.help,
            where: rule.nodes[0].target.join(" "), markup: rule.nodes[0].html.slice(0, 80),
        }));
}"""


@cache
def axe_core() -> str | None:
    """The script of axe-core, or ``None`` where the package that carries it is not installed.

    Raises ``ValueError`` where the script is not the one that was read.
    """
    package = importlib.util.find_spec(PACKAGE)
    if package is None:
        return None
    script = Path(package.origin).with_name("axe.min.js").read_bytes()
    return checked(script, SHA256).decode()


def checked(script: bytes, expected: str) -> bytes:
    """``script``, if its SHA-256 is ``expected``; else raises ``ValueError``."""
    given = hashlib.sha256(script).hexdigest()
    if given != expected:
        raise ValueError(f"axe.min.js: SHA-256 {given} given, expected {expected}")
    return script


def findings(page: Page, view: str) -> list[str]:
    """Serious and critical faults of ``page``, one line a rule; none where axe-core is missing.

    The page is shown already as ``view``, one of ``VIEWS``, says.
    """
    axe = axe_core()
    if axe is None:
        return []
    if not page.evaluate("Boolean(window.axe?.run)"):
        page.evaluate(axe)
    return [f"axe {one['rule']} ({view}): {one['what']}; {one['count']} times, first "
            f"{one['where']}, {one['markup']}"
            for one in page.evaluate(RUN, list(VIEWS[view])) if one["rule"] not in OF_THE_THEME]
