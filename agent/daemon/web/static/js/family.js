// One family: its facts, its learning curve, the return by episode of the trial, and its last runs.

import { byId, el, mark, paragraph, render, table } from "./dom.js";
import { ago, count, moment, number, score, STATE_KINDS, withError } from "./format.js";
import { drawLines } from "./charts.js";
import { get } from "./api.js";

const METRICS = {
  eval_score: "score", eval_return: "held-out return", trial_return: "trial return in practice",
  performance: "mean score of the last evaluations", forgetting: "forgetting", loss: "loss",
  episode_return: "return by episode", met_return: "first episode in met tasks",
  met_trial_return: "trial in met tasks", uncertainty: "uncertainty",
  rehearsal_kl: "KL of rehearsal", rehearsal_share: "share of rehearsal",
};
const AXES = { env_steps: "environment steps", at: "time", learner_steps: "learner steps of the service" };
const MOST_LINES = 5;
const MOST_ROWS = 300;
const shown = { name: "", detail: null, curves: null, turn: 0 };
const metric = byId("metric");

function metricsOf(detail) {
  const names = Object.keys(METRICS).filter((name) => name !== "eval_score" || detail.reference_return !== null);
  return names.filter((name) => (!name.startsWith("met_") || detail.met_tasks) && (name !== "uncertainty" || detail.shots));
}

function offerMetrics(detail) {
  const names = metricsOf(detail);
  if (metric.dataset.names === names.join()) return;
  const before = metric.value;
  metric.replaceChildren(...names.map((name) => el("option", { value: name }, METRICS[name])));
  metric.value = names.includes(before) ? before : names[0];
  metric.dataset.names = names.join();
}

function labelOf(detail, point) {
  if (!/^\d+$/.test(point.label)) return point.label;
  return detail.shots ? `${point.label} shots` : `episode ${Number(point.label) + 1}`;
}

function linesOf(detail, curves, axis) {
  const byLabel = new Map();
  for (const point of curves.points) {
    if (point.value === null || point[axis] === null) continue;
    const label = labelOf(detail, point);
    if (!byLabel.has(label)) byLabel.set(label, []);
    byLabel.get(label).push({ x: point[axis], y: point.value, error: point.standard_error });
  }
  const lines = [...byLabel].map(([name, points]) => ({ name, points }));
  if (lines.length <= MOST_LINES) return lines;
  const step = (lines.length - 1) / (MOST_LINES - 1);
  return Array.from({ length: MOST_LINES }, (_, i) => lines[Math.round(i * step)]);
}

function levelsOf(detail, name) {
  if (name === "eval_score" || name === "performance") return [{ value: 0, name: "random actions", always: true }, { value: 1, name: "reference" }];
  if (name !== "eval_return" && name !== "trial_return") return [];
  return [["random actions", detail.random_return, true], ["reference", detail.reference_return]]
    .filter(([, value]) => value !== null).map(([title, value, always]) => ({ name: title, value, always }));
}

function storyOf(curves, lines, axisName) {
  const points = lines.at(-1)?.points ?? [];
  if (points.length < 2) return points.length ? "One measurement so far." : "Nothing was measured yet.";
  const last = points.at(-1);
  const metricName = METRICS[curves.metric] ?? curves.metric;
  const name = metricName[0].toUpperCase() + metricName.slice(1);
  return `${name}${lines.at(-1).name ? ` (${lines.at(-1).name})` : ""}: from ${withError(points[0].y, points[0].error)} to ${withError(last.y, last.error)} in ${points.length} measurements over ${axisName}.`;
}

function keys(lines) {
  if (lines.length < 2) return null;
  return el("ul", { class: "keys" }, lines.map((line, i) => {
    const swatch = el("i");
    swatch.style.background = `var(${line.colour ?? `--series-${(i % 5) + 1}`})`;
    return el("li", {}, swatch, line.name);
  }));
}

function showCurve() {
  const { detail, curves } = shown;
  const axis = document.querySelector("input[name=axis]:checked").value;
  const name = METRICS[curves.metric] ?? curves.metric;
  const lines = linesOf(detail, curves, axis);
  const text = storyOf(curves, lines, AXES[axis]);
  const caption = byId("curve-text");
  const said = el("span", {}, text);
  render(caption, keys(lines), said);
  drawLines(byId("curve"), lines, { isTime: axis === "at", xName: AXES[axis], levels: levelsOf(detail, curves.metric), readout: said, title: `${detail.name}: ${text}` });
  const newest = curves.points.slice(-MOST_ROWS).reverse();
  render(byId("curve-table").querySelector(".scroll"), table([
    ["time", (p) => moment(p.at), "nowrap"], ["steps", (p) => count(p.env_steps), "num"],
    ["learner steps", (p) => count(p.learner_steps), "num optional"], ["label", (p) => labelOf(detail, p)],
    ["value", (p) => withError(p.value, p.standard_error), "num"],
  ], newest, { caption: `${name} of ${detail.name}, newest first` }));
}

function showEpisodes() {
  const { detail, curves } = shown;
  const isByShots = Boolean(detail.shots);
  const unit = isByShots ? "shots" : "episode";
  const points = (found) => found.filter((p) => p.value !== null && /^\d+$/.test(p.label))
    .map((p) => ({ x: Number(p.label) + (isByShots ? 0 : 1), y: p.value, error: p.standard_error }));
  const first = points(curves.first_episodes);
  const latest = points(curves.latest_episodes);
  const isSame = curves.first_episodes[0]?.at === curves.latest_episodes[0]?.at;
  const lines = [
    ...(isSame ? [] : [{ name: "first evaluation", points: first, colour: "--muted", dash: [5, 4] }]),
    { name: "newest evaluation", points: latest, colour: "--series-1" },
  ];
  byId("episodes-title").textContent = isByShots ? "Return by number of shots" : "Return by episode of the trial";
  const perTrial = detail.spec.episodes_per_trial;
  const levels = !isByShots && detail.random_return !== null && perTrial ? [{ name: "random actions", value: detail.random_return / perTrial, always: true }] : [];
  const text = latest.length > 1
    ? `Within a trial, the return goes from ${number(latest[0].y)} in the first to ${number(latest.at(-1).y)} in the last ${unit}.`
    : latest.length ? "A trial is one episode." : "Nothing was measured yet.";
  const said = el("span", {}, text);
  render(byId("episodes-text"), keys(lines.filter((line) => line.points.length)), said);
  drawLines(byId("episodes"), lines, { xName: unit, levels, whole: !isByShots, readout: said, title: `${detail.name}: ${text}` });
  const rows = latest.map((p, i) => ({ ...p, first: first[i] }));
  render(byId("episodes-table").querySelector(".scroll"), table([
    [unit, (p) => p.x, "num"], ["first evaluation", (p) => withError(p.first?.y, p.first?.error), "num"],
    ["newest evaluation", (p) => withError(p.y, p.error), "num"],
  ], rows, { caption: `Return by ${unit} of ${detail.name}` }));
}

function fact(name, value) {
  return value === null || value === undefined || value === "" ? null : el("span", {}, `${name} `, el("b", {}, value));
}

function declared(spec) {
  const varied = (spec.variations ?? []).map((v) => v.name);
  const few = varied.length > 6 ? `${varied.slice(0, 6).join(", ")} and ${varied.length - 6} more` : varied.join(", ");
  return [spec.entry, few && `varies ${few}`].filter(Boolean).join(" · ");
}

function showFacts() {
  const { detail } = shown;
  byId("family-title").textContent = detail.name;
  const unit = detail.reference_return === null ? ", in units of what it had reached" : "";
  render(byId("family-facts"),
    el("p", {}, mark(detail.state, STATE_KINDS[detail.state] ?? "muted"), " ",
      detail.strikes ? [mark(detail.strikes === 1 ? "1 strike" : `${detail.strikes} strikes`, "warn"), " "] : null,
      el("span", { class: "muted" }, declared(detail.spec))),
    detail.state_reason && el("p", { class: "reason" }, detail.state_reason),
    el("div", { class: "line" },
      fact("score", withError(detail.eval_score, detail.eval_score_standard_error)),
      fact("held-out return", withError(detail.eval_return, detail.eval_return_standard_error)),
      fact("random actions", number(detail.random_return)),
      fact("reference", detail.reference_return === null ? "none" : number(detail.reference_return)),
      fact("before practice", detail.zero_shot && (detail.zero_shot.score === null ? number(detail.zero_shot.return) : score(detail.zero_shot.score))),
      fact("forward transfer", detail.forward_transfer && detail.forward_transfer.score !== null ? score(detail.forward_transfer.score) : null),
      detail.forgetting === null ? null : fact("forgetting", score(detail.forgetting) + unit),
      fact("steps", count(detail.env_steps)), fact("trials", count(detail.trials)), fact("updates", count(detail.meta_updates)),
      el("span", {}, "evaluated ", ago(detail.evaluated_at))));
  render(byId("family-runs"),
    el("h3", { class: "sub" }, "Last runs, and why"),
    detail.last_runs.length ? table([
      ["started", (r) => ago(r.started_at), "nowrap"], ["job", (r) => r.job],
      ["outcome", (r) => el("span", { class: STATE_KINDS[r.outcome] ?? "" }, r.outcome ?? "running")],
      ["why, or what went wrong", (r) => el("span", { class: "reason" }, r.error || r.reason), "long"],
    ], detail.last_runs, { caption: `Last runs of ${detail.name}`, isStacked: true }) : paragraph("no run yet"));
}

/** Read and show a family; only the newest of several calls shows what it read. */
export async function showFamily(name, { withCurves = true } = {}) {
  if (!name) { byId("family").hidden = true; return; }
  byId("family").hidden = false;
  const turn = ++shown.turn;
  const path = `/families/${encodeURIComponent(name)}`;
  const detail = await get(path);
  if (turn !== shown.turn) return;
  const isOther = name !== shown.name;
  Object.assign(shown, { name, detail });
  offerMetrics(detail);
  showFacts();
  if (!withCurves && !isOther && shown.curves) return;
  const curves = await get(`${path}/curves?metric=${metric.value}`);
  if (turn !== shown.turn) return;
  shown.curves = curves;
  redraw();
}

export function redraw() {
  if (!shown.curves) return;
  showCurve();
  showEpisodes();
}

export function selectedFamily() {
  return shown.name;
}

metric.addEventListener("change", () => showFamily(shown.name).catch(() => {}));
for (const input of document.querySelectorAll("input[name=axis]")) input.addEventListener("change", redraw);
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => setTimeout(redraw, 50));
