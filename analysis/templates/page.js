"use strict";
// Charts are drawn when they come into view, filtered by what is chosen above, and told in numbers on request.
// The choice is kept in the address, so that a reload (or a link) shows the same.

const form = document.getElementById("filters");
const charts = [...document.querySelectorAll("figure.chart")];
const cards = [...document.querySelectorAll(".card")];
const coarse = matchMedia("(pointer: coarse)").matches;
const CONFIG = {
  responsive: true, displaylogo: false,
  // By name: plotly's default ones would offer to send the chart to a server.
  modeBarButtons: [["toImage", "zoom2d", "pan2d", "zoomIn2d", "zoomOut2d", "resetScale2d"]],
  toImageButtonOptions: { format: "svg" },
};
let printing = false;

function specification(chart) {
  const figure = JSON.parse(chart.querySelector("script").textContent);
  figure.layout.autosize = true;
  // A finger scrolls the page; zooming is by the chart's own buttons there.
  if (coarse) figure.layout.dragmode = false;
  // What is printed has the width of a sheet, not of the window.
  if (printing) Object.assign(figure.layout, { autosize: false, width: chart.classList.contains("small") ? 330 : 680 });
  const wanted = choice();
  for (const trace of figure.data) trace.visible = visible(trace, wanted);
  return figure;
}

function visible(trace, wanted) {
  const meta = trace.meta || {};
  if (wanted.width && meta.width !== undefined && String(meta.width) !== wanted.width) return false;
  if (meta.samples === undefined) return trace.visible ?? true;
  return wanted.samples ? String(meta.samples) === wanted.samples : meta.first;
}

function draw(chart) {
  const figure = specification(chart);
  chart.drawn = true;
  return Plotly.react(chart.querySelector(".plot"), figure.data, figure.layout, CONFIG);
}

// --- filters ---

function choice() {
  return Object.fromEntries(new FormData(form));
}

function filter() {
  const wanted = choice();
  const words = (wanted.text || "").toLowerCase().split(/\s+/).filter(Boolean);
  const holds = text => words.every(word => text.toLowerCase().includes(word));
  const facets = ["concept", "learner", "algorithm", "epsilon"].filter(name => wanted[name]);
  const allowed = new Set(), named = new Set();
  for (const card of cards) {
    const number = card.dataset.problem;
    if (facets.every(name => card.dataset[name] === wanted[name])) allowed.add(number);
    if (holds(card.dataset.label)) named.add(number);
    card.hidden = !(allowed.has(number) && holds(card.textContent));
  }
  const problem = element => element.dataset.problem === undefined || allowed.has(element.dataset.problem);
  for (const row of document.querySelectorAll("tbody tr")) {
    row.hidden = !(problem(row) && (named.has(row.dataset.problem) || holds(row.textContent))
      && matches(row.dataset.width, wanted.width) && matches(row.dataset.samples, wanted.samples));
  }
  for (const chart of charts) {
    chart.hidden = !(problem(chart) && (chart.dataset.problem === undefined || named.has(chart.dataset.problem)
      || holds(chart.querySelector("figcaption").textContent)));
    if (chart.drawn && !chart.hidden) draw(chart);
  }
  const shown = cards.filter(card => !card.hidden).length;
  form.querySelector("output").textContent = shown === cards.length ? "" : `${shown} of ${cards.length} problems`;
  const kept = new URLSearchParams(Object.entries(wanted).filter(([, value]) => value));
  history.replaceState(null, "", `#${kept}`);
}

function matches(value, wanted) {
  return !wanted || value === undefined || Number(value) === Number(wanted);
}

function restore() {
  for (const [name, value] of new URLSearchParams(location.hash.slice(1))) {
    if (form.elements[name]) form.elements[name].value = value;
  }
}

// --- tables ---

function sort(button) {
  const head = button.closest("th"), column = [...head.parentNode.children].indexOf(head);
  const up = head.getAttribute("aria-sort") !== "ascending";
  for (const other of head.parentNode.children) other.setAttribute("aria-sort", "none");
  head.setAttribute("aria-sort", up ? "ascending" : "descending");
  const body = head.closest("table").tBodies[0];
  const value = row => row.cells[column].dataset.sort ?? row.cells[column].textContent;
  const order = new Intl.Collator("en", { numeric: true });
  const compare = head.classList.contains("number")
    ? (a, b) => Number(value(a)) - Number(value(b)) : (a, b) => order.compare(value(a), value(b));
  const missing = row => head.classList.contains("number") && row.cells[column].dataset.sort === undefined;
  const rows = [...body.rows];
  const known = rows.filter(row => !missing(row)).sort((a, b) => up ? compare(a, b) : compare(b, a));
  body.append(...known, ...rows.filter(missing));
}

function numbers(details) {
  if (!details.open || details.querySelector("table")) return;
  const figure = JSON.parse(details.closest("figure").querySelector("script").textContent);
  const table = document.createElement("table");
  table.append(row("th", ["series", "x", "y", ""]));
  for (const trace of figure.data) {
    if (trace.hoverinfo === "skip") continue;
    const name = plain(trace.name || "");
    if (trace.z) trace.z.flat().forEach((z, i) => table.append(row("td", ["", "", z, plain(trace.hovertext.flat()[i])])));
    else trace.x.forEach((x, i) => table.append(row("td", [name, x, trace.y[i], plain(told(trace, i))])));
  }
  for (const shape of figure.layout.shapes || []) if (shape.showlegend) table.append(row("td", [plain(shape.name)]));
  const scroll = document.createElement("div");
  scroll.tabIndex = 0;
  scroll.append(table);
  details.append(scroll);
}

// What hovering tells of a point: its trace's template, filled in.
function told(trace, i) {
  const place = { x: trace.x[i], y: trace.y[i] };
  return (trace.hovertemplate || "").replace(/%{(?:([xy])|customdata\[(\d+)\])(?::[^}]*)?}/g,
    (_, axis, k) => axis ? place[axis] : trace.customdata[i][k]);
}

function row(kind, values) {
  const line = document.createElement("tr");
  for (const value of values) {
    const cell = document.createElement(kind);
    cell.textContent = plain(String(value ?? ""));
    line.append(cell);
  }
  return line;
}

// plotly's text has a few tags, and what the store says is escaped in it.
function plain(text) {
  return text.replace(/<\/?(sub|sup)>/g, "").replace(/<[^>]*>/g, " ").replace(/&lt;/g, "<").replace(/&gt;/g, ">").replace(/&amp;/g, "&");
}

// --- printing, reloading ---

addEventListener("beforeprint", () => { printing = true; charts.filter(each => !each.hidden).forEach(draw); });
addEventListener("afterprint", () => { printing = false; charts.filter(each => !each.hidden).forEach(draw); });

let touched = 0;
for (const kind of ["pointerdown", "keydown", "wheel"]) addEventListener(kind, () => { touched = Date.now(); });
if (document.body.dataset.reload) {
  const pause = 1000 * Number(document.body.dataset.reload);
  // Not under a reader's hands.
  setInterval(() => { if (Date.now() - touched > Math.min(pause, 10000)) location.reload(); }, pause);
}

form.addEventListener("input", filter);
form.addEventListener("submit", event => event.preventDefault());
form.addEventListener("reset", () => setTimeout(filter));
document.addEventListener("click", event => {
  if (event.target.matches("th button")) sort(event.target);
});
for (const details of document.querySelectorAll(".numbers")) details.addEventListener("toggle", () => numbers(details));
restore();
filter();
const seen = new IntersectionObserver(entries => {
  for (const entry of entries) {
    if (entry.isIntersecting && !entry.target.drawn) draw(entry.target);
  }
}, { rootMargin: "400px" });
charts.forEach(chart => seen.observe(chart));
