// Draws charts, sorts tables, applies dropdowns. It reads nothing but the page that it is in.
"use strict";
const all = (selector, inside = document) => [...inside.querySelectorAll(selector)];

// A figure names its colours, which the theme resolves whenever the figure is drawn.
const probe = document.createElement("i");
function colour(_, value) {
  if (typeof value !== "string" || !/^var\(--[\w-]+\)$/.test(value)) return value;
  probe.style.color = value;
  return getComputedStyle(probe).color;
}
function draw(plot) {
  const [figure, template] = [plot.nextElementSibling, document.getElementById("template")]
    .map((element) => JSON.parse(element.textContent, colour));
  const layout = { ...figure.layout, template, width: plot.clientWidth };
  plot.drawn = plot.clientWidth;
  Plotly.react(plot, figure.data, layout, { displayModeBar: false });
}
function redraw() {
  for (const plot of all(".plot")) {
    plot.drawn = 0; // what is hidden now is drawn when it is shown
    if (plot.clientWidth) draw(plot);
  }
}
const sizes = new ResizeObserver((entries) => entries
  .filter(({ target }) => target.clientWidth && target.clientWidth !== target.drawn)
  .forEach(({ target }) => draw(target)));

function dropdowns(page) {
  const selects = all("select[data-name]", page);
  const update = () => {
    const chosen = Object.fromEntries(selects.map((each) => [each.dataset.name, each.selectedIndex]));
    for (const variant of all("[data-when]", page)) {
      const when = Object.entries(JSON.parse(variant.dataset.when));
      variant.hidden = when.some(([name, option]) => chosen[name] !== option);
    }
  };
  for (const select of selects) select.onchange = update;
  update(); // a browser that returns to the page may restore another choice
}

function table(box) {
  const body = box.querySelector("tbody"), heads = all("thead th", box), rows = [...body.rows];
  const [back, forth] = all(".pager button", box), size = Number(box.dataset.size);
  const search = box.querySelector("input"), words = new Intl.Collator(undefined, { numeric: true });
  let first = 0;
  const show = (from) => {
    const text = search?.value.toLowerCase() ?? "";
    const found = rows.filter((row) => row.textContent.toLowerCase().includes(text));
    first = found.length > from ? Math.max(from, 0) : first;
    const last = Math.min(first + size, found.length), shown = new Set(found.slice(first, last));
    for (const row of rows) row.hidden = !shown.has(row);
    if (!back) return;
    [back.disabled, forth.disabled] = [first === 0, last === found.length];
    box.querySelector("output").textContent = `${last && first + 1}–${last} of ${found.length}`;
  };
  if (search) search.oninput = () => show((first = 0));
  if (back) [back.onclick, forth.onclick] = [() => show(first - size), () => show(first + size)];
  heads.forEach((head, n) => head.firstElementChild.onclick = () => {
    const numbers = head.classList.contains("number"), was = head.ariaSort;
    const down = was ? was === "ascending" : numbers;
    const compare = numbers ? (a, b) => a - b : words.compare;
    const key = ({ cells }) => cells[n].dataset.sort ?? cells[n].textContent;
    for (const each of heads) each.ariaSort = each !== head ? null : down ? "descending" : "ascending";
    // An empty key is NULL, which comes last either way.
    rows.sort((a, b) => !key(a) - !key(b) || compare(key(a), key(b)) * (down ? -1 : 1));
    body.append(...rows);
    show((first = 0));
  });
}

function print(on) {
  document.documentElement.classList.toggle("paper", on);
  redraw();
}

all(".page").forEach(dropdowns);
all(".table").forEach(table);
document.querySelector("nav [aria-current]")?.scrollIntoView({ block: "nearest", inline: "center" });
addEventListener("DOMContentLoaded", () => { // by now Plotly is there
  document.body.append(probe);
  all(".plot").forEach((plot) => sizes.observe(plot));
  matchMedia("(prefers-color-scheme: dark)").onchange = redraw;
  addEventListener("beforeprint", () => print(true));
  addEventListener("afterprint", () => print(false));
});
