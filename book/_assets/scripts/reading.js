/* What scrolls sideways can be reached and scrolled with the keyboard (WCAG 2.1.1): the theme sees
   to code and tables, but only once the window rests, and not to formulas. */
const BOXES = "pre, mjx-container[display], .pst-scrollable-table-container";
const reach = new ResizeObserver(changes => changes.forEach(({target: box}) => {
  if (box.scrollWidth > box.clientWidth) box.tabIndex = 0;
  else box.removeAttribute("tabindex");
}));
addEventListener("load", async () => {
  await window.MathJax?.startup?.promise;
  document.querySelectorAll(BOXES).forEach(box => reach.observe(box));
});

/* Paper is white, whatever the screen shows. */
let theme;
addEventListener("beforeprint", () => {
  theme = document.documentElement.dataset.theme;
  document.documentElement.dataset.theme = "light";
});
addEventListener("afterprint", () => { document.documentElement.dataset.theme = theme; });
