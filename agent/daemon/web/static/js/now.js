// What the service does now and why, its figures, and its health with what to do.

import { byId, el, familyLink, mark, paragraph, render } from "./dom.js";
import { ago, count, duration, NOTHING, running, score, STATE_KINDS } from "./format.js";
import { attentionOf } from "./attention.js";

const MOST_SHOWN = 12;

function progressOf(run) {
  const done = run.progress;
  return done && "steps_done" in done ? `, ${count(done.steps_done)} of ${count(done.steps)} steps (${done.phase})` : "";
}

function doing(status) {
  if (!status.running.length) {
    const trainer = status.learner ? `trainer ${status.learner.state}` : "";
    return [el("div", { class: "doing" }, el("span", { class: "what" }, status.state === "running" ? "idle" : status.state),
      el("span", { class: "why" }, trainer))];
  }
  return status.running.map((run) => el("div", { class: "doing" },
    el("span", { class: "what" }, run.job, run.family ? " " : "",
      run.family && familyLink(run.family, "now")),
    el("span", { class: "why" }, `${run.reason}${progressOf(run)}`),
    el("span", { class: "muted" }, running(run.started_at))));
}

function meanScore(families) {
  const scores = families.map((f) => f.eval_score).filter((s) => s !== null);
  return scores.length ? score(scores.reduce((a, b) => a + b, 0) / scores.length) : NOTHING;
}

export function showNow(status) {
  const active = status.families.filter((f) => f.state === "active").length;
  const total = (name) => status.families.reduce((sum, f) => sum + f[name], 0);
  render(byId("now"), doing(status));
  const facts = [
    ["version", status.policy_version ?? "none yet"],
    ["active", `${active} of ${status.families.length}`],
    ["mean score", meanScore(status.families)],
    ["steps", count(total("env_steps"))],
    ["trials", count(total("trials"))],
    ["learner steps", count(status.learner_steps)],
    ["trainer", status.learner?.state ?? NOTHING],
    ["device", status.device ?? NOTHING],
    ["up for", status.since === null ? NOTHING : duration(Date.now() / 1000 - status.since)],
  ];
  render(byId("facts"), facts.map(([name, value]) => el("div", {}, el("dt", {}, name), el("dd", {}, value))));
  const state = byId("state");
  state.className = `state ${STATE_KINDS[status.state] ?? "muted"}`;
  state.textContent = status.state;
  byId("place").textContent = `${status.data_dir} · pid ${status.pid} · ${status.listen ?? ""}`;
}

/** Show health in the bar, which stays in view, and in the title of the browser's tab if it is bad. */
function showSign(text, kind) {
  const sign = byId("sign");
  sign.hidden = false;
  sign.className = `sign mark ${kind}`;
  sign.textContent = text;
  document.title = kind === "bad" ? `${text} · learnd` : "learnd";
}

export function showHealth(health, status) {
  const items = health.reasons.map((reason) => el("li", { class: "red" },
    el("strong", {}, reason.reason), reason.found, el("br"), el("b", {}, "What to do: "), reason.hint));
  const needs = status.families.map((family) => [family, attentionOf(family)]).filter(([, need]) => need.rank >= 50)
    .sort((a, b) => b[1].rank - a[1].rank);
  for (const [family, need] of needs.slice(0, MOST_SHOWN)) {
    items.push(el("li", {},
      el("strong", {}, familyLink(family.name, "need"),
        ` ${need.text}`),
      need.found && `${need.found}\n`,
      family.state === "quarantined" && family.quarantined_until ? el("span", {}, "tried again ", ago(family.quarantined_until), ". ") : null,
      need.hint && [el("b", {}, "What to do: "), need.hint]));
  }
  if (needs.length > MOST_SHOWN) items.push(el("li", {}, `and ${needs.length - MOST_SHOWN} more families: sort by attention needed.`));
  for (const problem of status.family_files) {
    items.push(el("li", {}, el("strong", {}, problem.file), problem.found));
  }
  const isRed = health.status !== "ok";
  if (isRed) showSign(`red: ${health.reasons[0]?.reason ?? "unknown"}${health.reasons.length > 1 ? ` and ${health.reasons.length - 1} more` : ""}`, "bad");
  else if (needs.length) showSign(needs.length === 1 ? "1 needs a look" : `${needs.length} need a look`, "warn");
  else showSign("health good", "good");
  render(byId("health"),
    el("p", {}, mark(isRed ? "red" : "good", isRed ? "bad" : "good"),
      isRed ? " learnd goes on as far as it can." : needs.length ? " The service is well; these families need a look:" : " Nothing needs attention."),
    items.length ? el("ul", { class: "reasons" }, items) : null);
}

export function showUnread(problem) {
  showSign("no answer", "bad");
  render(byId("health"), el("p", {}, mark("no answer", "bad")), paragraph(`${problem} The page shows what it last read.`, "reason"));
}
