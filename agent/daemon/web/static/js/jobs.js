// The schedule, what takes the trainer's time, the newest events and quarantines.

import { byId, el, mark, paragraph, render, table } from "./dom.js";
import { ago, duration, share, STATE_KINDS, trigger } from "./format.js";

const PARTS = ["practise", "evaluate", "consolidate", "admit", "checkpoint"];

function timeByJob(times) {
  const sums = new Map();
  for (const entry of times) {
    const sum = sums.get(entry.job) ?? { job: entry.job, share: 0, seconds: 0, budget: entry.budget };
    sum.share += entry.share;
    sum.seconds += entry.seconds;
    sums.set(entry.job, sum);
  }
  return [...sums.values()].sort((a, b) => b.seconds - a.seconds);
}

function colourOf(job) {
  return `var(--series-${(Math.max(0, PARTS.indexOf(job)) % 5) + 1})`;
}

function timeShares(times) {
  const sums = timeByJob(times);
  if (!sums.length) return null;
  return [
    el("h3", { class: "sub" }, "The trainer's time in the last hour"),
    el("div", { class: "share", "aria-hidden": "true" }, sums.map((sum) => {
      const part = el("span");
      part.style.flexGrow = sum.share;
      part.style.background = colourOf(sum.job);
      return part;
    })),
    el("ul", { class: "keys" }, sums.map((sum) => {
      const swatch = el("i", { class: "block" });
      swatch.style.background = colourOf(sum.job);
      return el("li", {}, swatch, `${sum.job} ${share(sum.share)}, ${duration(sum.seconds)}${sum.budget === null ? "" : ` (at most ${share(sum.budget)})`}`);
    })),
  ];
}

function outcome(word) {
  return word === null ? "running" : el("span", { class: STATE_KINDS[word] ?? "" }, word);
}

/** Return when a job is due; a due one waits until the trainer is free. */
function dueText(at) {
  return at !== null && at <= Date.now() / 1000 ? "waits" : ago(at);
}

export function showJobs({ jobs, times, runs }) {
  render(byId("jobs"),
    jobs.length ? table([
      ["job", (j) => j.job], ["when", (j) => trigger(j.trigger), "optional"], ["last", (j) => ago(j.last_started_at), "nowrap optional"],
      ["outcome", (j) => (j.last_outcome === null ? "–" : outcome(j.last_outcome))], ["due", (j) => dueText(j.next_due_at), "nowrap"],
    ], jobs, { caption: "Schedule of the jobs" }) : paragraph("the schedule is written at the first start"),
    timeShares(times),
    runs.length ? [el("h3", { class: "sub" }, "Last runs: why, or what went wrong"),
      el("div", { class: "scroll", "data-scroll": "runs", tabindex: "0", role: "region", "aria-label": "Last runs" }, table([
        ["started", (r) => ago(r.started_at), "nowrap"], ["job", (r) => [r.job, r.family ? ` ${r.family}` : ""]],
        ["outcome", (r) => outcome(r.outcome)],
        ["took", (r) => duration(r.finished_at === null ? null : r.finished_at - r.started_at), "num optional"],
        ["why", (r) => el("span", { class: "reason" }, r.error || r.detail.found || r.reason), "long"],
      ], runs, { caption: "Last runs", isStacked: true }))] : null);
}

const KINDS = { info: "muted", warning: "warn", error: "bad" };

export function showEvents({ events }) {
  render(byId("event-list"), events.length ? el("ol", { class: "timeline", "data-scroll": "events", tabindex: "0", "aria-label": "Newest events" },
    events.map((event) => el("li", {}, ago(event.at), el("span", {},
      event.severity === "info" ? null : [mark(event.severity, KINDS[event.severity]), " "],
      event.title, event.text && el("span", { class: "reason" }, event.text))))) : paragraph("nothing has happened yet"));
}

/** Show when families were in quarantine; nothing if none ever was. */
export function showQuarantines({ quarantines }) {
  render(byId("quarantine-list"), quarantines.length ? [el("h3", { class: "sub" }, "Last quarantines"), table([
    ["family", (q) => q.family], ["began", (q) => ago(q.began_at), "nowrap"],
    ["until", (q) => ago(q.until), "nowrap"], ["why", (q) => el("span", { class: "reason" }, q.reason), "long"],
  ], quarantines, { caption: "Last quarantines", isStacked: true })] : null);
}
