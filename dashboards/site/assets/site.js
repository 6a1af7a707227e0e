// Draws charts, sorts tables, applies dropdowns. It reads nothing but the page that it is in.
"use strict";
const TEMPLATE = TEMPLATE_OF_CHARTS; // charts.json, which the build puts here
const all = (selector, inside = document) => [...inside.querySelectorAll(selector)];

// A figure names its colours, which the theme resolves whenever the figure is drawn.
const probe = document.createElement("i");
function colour(_, value) {
  if (typeof value !== "string" || !/^var\(--[\w-]+\)$/.test(value)) return value;
  probe.style.color = value;
  return getComputedStyle(probe).color;
}
// A name is cut at the end of a word. Plotly reads <, > and & as markup.
function cut(name, room) {
  const begin = name.slice(0, room + 1).replace(/[\s,;:(-]*\s\S*$/, "").slice(0, room);
  const text = name.length > room ? `${begin}…` : name;
  return text.replace(/[&<>]/g, (each) => `&#${each.charCodeAt(0)};`);
}
function draw(plot) {
  if (!plot.clientWidth) return; // it is drawn when it is shown
  const [figure, template] = [plot.nextElementSibling.textContent, JSON.stringify(TEMPLATE)]
    .map((text) => JSON.parse(text, colour));
  const layout = { ...figure.layout, template, width: plot.clientWidth };
  const { yaxis } = layout;
  yaxis.ticktext = yaxis.ticktext?.map((name) => cut(name, Math.max(24, plot.clientWidth / 17)));
  Plotly.react(plot, figure.data, layout, { displayModeBar: false });
}
const redraw = () => all(".plot").forEach(draw);
const sizes = new ResizeObserver((entries) => entries.forEach(({ target }) => draw(target)));

function choose() {
  for (const page of all(".page")) {
    const chosen = all("select", page).map((each) => [each.name, each.selectedIndex]);
    for (const variant of all("[data-when]", page)) {
      const when = JSON.parse(variant.dataset.when);
      variant.hidden = chosen.some(([name, option]) => (when[name] ?? option) !== option);
    }
  }
}

function table(box) {
  const [body] = box.querySelector("table").tBodies, heads = all("thead th", box);
  const [back, forth] = all(".pager button", box), size = Number(box.dataset.size);
  const search = box.querySelector("input"), words = new Intl.Collator(undefined, { numeric: true });
  const rows = [...body.rows];
  let first = 0;
  const show = (from) => {
    const text = search?.value.toLowerCase() ?? "";
    const found = rows.filter((row) => row.textContent.toLowerCase().includes(text));
    const shown = found.slice((first = from), first + size);
    body.replaceChildren(...shown);
    if (!back) return;
    [back.disabled, forth.disabled] = [first === 0, first + size >= found.length];
    const ends = `${shown.length && first + 1}–${first + shown.length}`;
    box.querySelector("output").textContent = `${ends} of ${found.length}`;
  };
  if (search) search.oninput = () => show(0);
  if (back) [back.onclick, forth.onclick] = [() => show(first - size), () => show(first + size)];
  heads.forEach((head, n) => head.firstElementChild.onclick = () => {
    const numbers = head.classList.contains("number"), was = head.ariaSort;
    const down = was ? was === "ascending" : numbers;
    for (const each of heads) each.ariaSort = each !== head ? null : down ? "descending" : "ascending";
    const compare = numbers ? (a, b) => a - b : words.compare;
    const key = ({ cells }) => cells[n].dataset.sort;
    // An empty key is NULL, which comes last either way.
    rows.sort((a, b) => !key(a) - !key(b) || compare(key(a), key(b)) * (down ? -1 : 1));
    show(0);
  });
  for (const row of rows) row.hidden = false;
  show(0);
}

function paper({ type }) {
  document.documentElement.classList.toggle("paper", type === "beforeprint");
  const day = new Date().toLocaleDateString("en-GB", { dateStyle: "long" });
  document.querySelector("footer").dataset.printed = `Printed ${day}.`;
  redraw();
}

all(".table").forEach(table);
addEventListener("change", choose);
choose(); // a browser that returns to the page may restore another choice
addEventListener("DOMContentLoaded", () => { // by now Plotly is there
  document.body.append(probe);
  const observe = () => all(".plot").forEach((plot) => sizes.observe(plot));
  document.fonts.load("12px Inter").finally(observe); // labels are measured in it
  matchMedia("(prefers-color-scheme: dark)").onchange = redraw;
  onbeforeprint = onafterprint = paper;
});
