/* What scrolls sideways can be reached and scrolled with the keyboard (WCAG 2.1.1): the theme sees
   to code once the window rests, but not to formulas. */
const reach = () => document.querySelectorAll("pre, mjx-container[display]").forEach(box => {
  if (box.scrollWidth > box.clientWidth) box.tabIndex = 0;
  else box.removeAttribute("tabindex");
});
addEventListener("load", () => (window.MathJax?.startup?.promise ?? Promise.resolve()).then(reach));
addEventListener("resize", reach);

/* Paper is white, whatever the screen shows. */
let theme;
addEventListener("beforeprint", () => {
  theme = document.documentElement.dataset.theme;
  document.documentElement.dataset.theme = "light";
});
addEventListener("afterprint", () => { document.documentElement.dataset.theme = theme; });
