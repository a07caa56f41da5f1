// Wide screens get slides by reveal.js; a narrow one, a page to scroll. Paper gets both at once.
(() => {
  const root = document.documentElement, deck = document.getElementById("deck");
  const slides = document.getElementById("slides"), panel = document.getElementById("notes");
  // In the speaker's window slides stand in small frames, and are slides all the same.
  const isNarrow = () => innerWidth <= 700 && self === top;
  const narrow = isNarrow();
  const smallest = 65, largest = 125, room = 1152;  // per cent; pixels between the margins

  // Type as large as the slide allows: 28 px with a picture, from 18 to 35 px elsewhere.
  function fit() {
    for (const slide of slides.children) {
      const body = slide.querySelector(".body"), film = slide.querySelector("[data-scrubber] > div");
      const full = () => body.scrollHeight > body.clientHeight + 1 || body.scrollWidth > room + 1
        || [...body.querySelectorAll("*")].some(e => e.offsetWidth > room + 1
          || e.localName === "math" && e.getBoundingClientRect().width > room);
      const set = size => slide.style.setProperty("--fit", size / 100);
      const pictured = slide.querySelector("figure, h1");
      let size = pictured ? 100 : largest;
      for (set(size); size > smallest && full() && !film; set(size)) size -= 5;
      const shrink = largest => {
        for (let width = largest; width > 240; width *= 0.95) {
          film.style.maxWidth = film.parentElement.style.width = `${width}px`;
          if (!full()) break;
        }
      };
      if (film) shrink(room);
      if (film?.offsetWidth < 600) {  // a tall one has its text beside it
        body.classList.add("beside");
        shrink(720);
      }
    }
  }

  function theme() {
    const dark = (root.dataset.theme ?? (matchMedia("(prefers-color-scheme: dark)").matches
      ? "dark" : "light")) === "dark";
    root.dataset.theme = dark ? "light" : "dark";
  }

  function notes() {
    panel.innerHTML = Reveal.getCurrentSlide().querySelector(".notes")?.innerHTML || "No notes.";
  }

  async function start() {
    root.classList.add("fixed");
    await document.fonts.load('1em "slide math"');
    fit();
    deck.classList.add("reveal");
    slides.classList.add("slides");
    Reveal.initialize({
      width: 1280, height: 720, margin: 0, display: "flex", minScale: 0.1, center: false, hash: true,
      transition: "none", backgroundTransition: "none", slideNumber: "c/t", viewDistance: 999,
      scrollActivationWidth: null, plugins: [RevealNotes],
      keyboardCondition: () => !document.activeElement?.closest("[data-scrubber], #notes"),
      keyboard: { 78: () => { panel.hidden = !panel.hidden; notes(); }, 68: theme },
    });
    Reveal.on("slidechanged", notes);
  }

  addEventListener("beforeprint", () => {
    root.dataset.before = root.dataset.theme ?? "";
    root.dataset.theme = "light";
    deck.classList.remove("reveal");
    slides.classList.remove("slides");
    if (!root.classList.contains("fixed")) { root.classList.add("fixed"); fit(); }
  });
  addEventListener("afterprint", () => {
    if (root.dataset.before) root.dataset.theme = root.dataset.before;
    else delete root.dataset.theme;
    if (narrow) { root.classList.remove("fixed"); return; }
    deck.classList.add("reveal");
    slides.classList.add("slides");
  });
  addEventListener("resize", () => {
    if (isNarrow() !== narrow && !matchMedia("print").matches) location.reload();
  });
  if (!narrow) start();
})();
