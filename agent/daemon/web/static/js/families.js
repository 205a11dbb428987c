// The list of families: filtered, sorted, and drawn only where it is in view, so that hundreds cost what a screen costs.

import { byId, el, render } from "./dom.js";
import { count, score, withError } from "./format.js";
import { attentionOf } from "./attention.js";
import { sparkline } from "./charts.js";

const ROW_PX = 46;
const MARGIN_ROWS = 6;

const ORDERS = {
  attention: (a, b) => attentionOf(b).rank - attentionOf(a).rank || a.index - b.index,
  added: (a, b) => a.index - b.index,
  name: (a, b) => a.name.localeCompare(b.name, undefined, { numeric: true }),
  score: (a, b) => (a.eval_score ?? 9e9) - (b.eval_score ?? 9e9) || a.index - b.index,
  steps: (a, b) => a.env_steps - b.env_steps || a.index - b.index,
};

const shown = { families: [], trends: new Map(), selected: "", rows: [] };
const list = byId("family-list");
const filter = byId("filter");
const order = byId("order");

function describe(family) {
  const need = attentionOf(family);
  const practised = `${count(family.env_steps)} steps`;
  return need.text ? [need.text, need.kind] : [`${family.state} · ${practised}`, ""];
}

function valueOf(family) {
  if (family.eval_score !== null) return [score(family.eval_score), "score"];
  if (family.eval_return !== null) return [withError(family.eval_return, family.eval_return_standard_error).split(" ")[0], "return"];
  return ["–", "not scored"];
}

function row(family, index) {
  const trend = shown.trends.get(family.name);
  const [text, kind] = describe(family);
  const [value, unit] = valueOf(family);
  const isSelected = family.name === shown.selected;
  return el("tr", { class: `row${isSelected ? " selected" : ""}`, "aria-rowindex": index + 2 },
    el("td", {},
      el("a", { href: `#family=${encodeURIComponent(family.name)}`, "data-key": `family ${family.name}`, "aria-current": isSelected && "true" }, family.name),
      el("span", { class: `under ${kind}` }, text)),
    el("td", {}, trend ? sparkline(trend.values, trend.metric === "eval_score") : null),
    el("td", { class: "num" }, value, el("span", { class: "under" }, unit)));
}

function pad(rows) {
  const cell = el("td", { class: "pad", colspan: 3 });
  cell.style.height = `${rows * ROW_PX}px`;
  return el("tr", { "aria-hidden": "true" }, cell);
}

function draw() {
  const height = list.clientHeight || 600;
  const first = Math.max(0, Math.floor(list.scrollTop / ROW_PX) - MARGIN_ROWS);
  const last = Math.min(shown.rows.length, Math.ceil((list.scrollTop + height) / ROW_PX) + MARGIN_ROWS);
  render(list, el("table", { "aria-rowcount": shown.rows.length + 1, "aria-label": "Families" },
    el("colgroup", {}, el("col"), el("col", { class: "pic" }), el("col", { class: "value" })),
    el("thead", { class: "unseen" }, el("tr", {}, ["family", "trend", "newest evaluation"].map((t) => el("th", { scope: "col" }, t)))),
    el("tbody", {},
      first > 0 && pad(first),
      shown.rows.slice(first, last).map((family, i) => row(family, first + i)),
      last < shown.rows.length && pad(shown.rows.length - last))));
  shown.window = [first, last];
}

function arrange() {
  const wanted = filter.value.trim().toLowerCase();
  const matches = (family) => !wanted || `${family.name} ${family.state}`.toLowerCase().includes(wanted);
  shown.rows = shown.families.filter(matches).sort(ORDERS[order.value]);
  const all = shown.families.length;
  byId("family-count").textContent = all === 0 ? "no family yet"
    : shown.rows.length === all ? `${all} ${all === 1 ? "family" : "families"}` : `${shown.rows.length} of ${all} families`;
  list.hidden = all === 0;
  draw();
}

export function showFamilies(families) {
  shown.families = families.map((family, index) => ({ ...family, index }));
  arrange();
}

export function showTrends(trends) {
  shown.trends = new Map(trends.families.map((trend) => [trend.name, trend]));
  draw();
}

export function select(name) {
  shown.selected = name;
  draw();
}

/** Return the family to show if none was chosen: the first of the list. */
export function firstFamily() {
  return shown.rows[0]?.name ?? shown.families[0]?.name ?? "";
}

let isQueued = false;
list.addEventListener("scroll", () => {
  if (isQueued) return;
  isQueued = true;
  requestAnimationFrame(() => { isQueued = false; draw(); });
}, { passive: true });
list.addEventListener("keydown", (event) => {
  const names = shown.rows.map((family) => family.name);
  const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
  if (!step || !names.length) return;
  event.preventDefault();
  const current = document.activeElement?.dataset?.key?.replace(/^family /, "") ?? shown.selected;
  const next = Math.max(0, Math.min(names.length - 1, names.indexOf(current) + step));
  const top = next * ROW_PX;
  if (top < list.scrollTop) list.scrollTop = top;
  if (top + ROW_PX > list.scrollTop + list.clientHeight) list.scrollTop = top + ROW_PX - list.clientHeight;
  draw();
  list.querySelector(`[data-key="${CSS.escape(`family ${names[next]}`)}"]`)?.focus({ preventScroll: true });
});
filter.addEventListener("input", () => { list.scrollTop = 0; arrange(); });
order.addEventListener("change", () => { list.scrollTop = 0; arrange(); });
