// Versions and rejected candidates: the reason, and the gate's score of each family.

import { byId, el, familyLink, mark, paragraph, render, svg, table } from "./dom.js";
import { ago, number, score, STATE_KINDS, withError } from "./format.js";

const MOST = 50;
const open = new Set();
let isFirst = true;

function delta(entry) {
  if (entry.score === null || entry.published_score === null) return null;
  const change = entry.score - entry.published_score;
  const width = Math.min(50, Math.abs(change) * 100);
  return svg("svg", { class: "delta", viewBox: "0 0 100 14", preserveAspectRatio: "none", "aria-hidden": "true" },
    svg("rect", { x: change < 0 ? 50 - width : 50, y: 3, width: Math.max(width, 0.6), height: 8, fill: `var(${change < 0 ? "--warn" : "--ok"})` }),
    svg("rect", { x: 49.7, y: 0, width: 0.6, height: 14, fill: "var(--muted)" }));
}

function signedChange(entry) {
  if (entry.score !== null && entry.published_score !== null) {
    const change = entry.score - entry.published_score;
    return `${change < 0 ? "" : "+"}${score(change)}`;
  }
  if (entry.mean_return !== null && entry.published_return !== null) {
    const change = entry.mean_return - entry.published_return;
    return `${change < 0 ? "" : "+"}${number(change)}`;
  }
  return "new";
}

function gate(version) {
  const rows = [...version.scores].sort((a, b) => ((a.score ?? 0) - (a.published_score ?? 0)) - ((b.score ?? 0) - (b.published_score ?? 0)));
  return table([
    ["family", (s) => familyLink(s.family, "gate"), "name"],
    ["candidate", (s) => (s.score === null ? withError(s.mean_return, s.return_standard_error) : withError(s.score, s.standard_error)), "num"],
    ["served then", (s) => (s.score === null ? number(s.published_return) : score(s.published_score)), "num optional"],
    ["change", signedChange, "num"], ["", delta, "optional wide"],
  ], rows, { caption: "Scores of the candidate and of the version served then, on the same held-out tasks" });
}

function entry(version) {
  const key = version.sha256 + version.created_at;
  if (isFirst) { open.add(key); isFirst = false; }
  const name = version.version === null ? "–" : `v${version.version}`;
  const state = version.is_current ? mark("served", "good") : version.state === "published" ? null
    : mark(version.state.replace("_", " "), STATE_KINDS[version.state] ?? "muted");
  const body = el("div");
  const node = el("details", { class: "version", open: open.has(key) },
    el("summary", { "data-key": `version ${key}` }, el("span", { class: "number" }, name),
      el("span", { class: "reason" }, state, state && " ", version.reason),
      el("span", { class: "muted when" }, version.mean_score === null ? "" : `mean ${score(version.mean_score)} · `, ago(version.created_at))),
    body);
  const fill = () => { if (!body.firstChild) body.append(version.scores.length ? gate(version) : paragraph("no scores are kept")); };
  if (open.has(key)) fill();
  node.addEventListener("toggle", () => {
    if (node.open) { open.add(key); fill(); } else open.delete(key);
  });
  return node;
}

export function showVersions({ versions }) {
  const rejected = versions.filter((v) => v.state === "rejected").length;
  render(byId("version-list"),
    versions.length ? null : paragraph("Nothing is published yet: the first candidate is scored some minutes after the start."),
    versions.length ? paragraph(`The newest ${versions.length}${versions.length >= MOST ? " (more: learnd policy list --all)" : ""}; ${rejected} rejected. Each was scored on held-out tasks of every family.`) : null,
    versions.map(entry));
}
