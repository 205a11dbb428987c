// The episodic memory by family, and the space on the disk; and what was retained and transferred.

import { byId, el, familyLink, paragraph, render, table } from "./dom.js";
import { count, score, share, size } from "./format.js";
import { strip } from "./charts.js";

const MOST = 12;

function meter(part) {
  const bar = el("span");
  bar.style.width = `${Math.round(part * 100)}%`;
  return el("span", { class: "meter", "aria-hidden": "true" }, bar);
}

export function showMemory(memory) {
  const largest = [...memory.families].sort((a, b) => b.size_bytes - a.size_bytes);
  const most = largest[0]?.size_bytes || 1;
  const rest = largest.length - MOST;
  render(byId("memory-sizes"),
    el("div", { class: "line" }, el("span", {}, el("b", {}, count(memory.trials)), " trials"),
      el("span", {}, el("b", {}, count(memory.episodes)), " episodes"),
      el("span", {}, el("b", {}, size(memory.size_bytes)), " on the disk"),
      el("span", {}, el("b", {}, size(memory.disk_free_bytes)), " free")),
    largest.length ? table([
      ["family", (f) => [familyLink(f.family, "memory"), meter(f.size_bytes / most)], "name"], ["trials", (f) => count(f.trials), "num"],
      ["episodes", (f) => count(f.episodes), "num"],
      ["size", (f) => size(f.size_bytes), "num"],
    ], largest.slice(0, MOST), { caption: "Stored trials by family" }) : null,
    rest > 0 ? paragraph(`and ${rest} smaller families (learnd memory stats)`) : null,
    paragraph(`database ${size(memory.database_bytes)}, of it free ${size(memory.free_bytes)}; log ${size(memory.wal_bytes)}; parameters ${size(memory.parameters_bytes)}`));
}

/** Show the matrix if at least two families were evaluated; return whether there is one. */
export function showMatrix(matrix) {
  const rows = matrix.families.map((f) => ({ ...f, cells: f.points.map((p) => ({ x: p.learner_steps ?? 0, score: p.score, is_practised: p.is_practised })) }))
    .filter((f) => f.cells.length).sort((a, b) => (b.forgetting ?? -9) - (a.forgetting ?? -9));
  document.body.classList.toggle("no-matrix", rows.length < 2);
  byId("retention-link").hidden = rows.length < 2;
  if (rows.length < 2) return;
  const xs = rows.flatMap((f) => [f.cells[0].x, f.cells.at(-1).x]);
  const [from, to] = [Math.min(...xs), Math.max(...xs)];
  const said = (f) => `score of ${f.name} from ${score(f.cells[0].score)} to ${score(f.cells.at(-1).score)}, ${share(f.cells.filter((c) => c.is_practised).length / f.cells.length)} of its evaluations after practice`;
  render(byId("matrix"),
    paragraph(`Scores over the ${count(to)} learner steps of the service. A stronger colour is a better score, amber is below random actions, and the line below marks practice.${matrix.average_performance === null ? "" : ` Mean performance ${score(matrix.average_performance)}.`}`),
    el("div", { class: "scroll", "data-scroll": "matrix", tabindex: "0", role: "region", "aria-label": "Scores of all families over time" }, table([
      ["family", (f) => familyLink(f.name, "matrix"), "name"],
      ["score over time", (f) => strip(f.cells, from, to, said(f)), "wide"],
      ["reached", (f) => score(f.reached), "num optional"], ["now", (f) => score(f.performance), "num"],
      ["forgetting", (f) => score(f.forgetting), "num"], ["transfer", (f) => score(f.forward_transfer), "num optional"],
    ], rows, { caption: "What each family had reached, what is left, what is forgotten, and forward transfer" })));
}
