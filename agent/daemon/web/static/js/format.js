// Numbers, sizes and times as short text, in the forms of the command line.

import { el } from "./dom.js";

export const NOTHING = "–";

const isNumber = (value) => typeof value === "number" && Number.isFinite(value);
const MINUS = /^-/;
const signed = (text) => text.replace(MINUS, "−");

/** Return a count in a few characters: 950, 12.3k, 4.56M. */
export function count(value) {
  if (!isNumber(value)) return NOTHING;
  for (const [size, unit] of [[1e9, "G"], [1e6, "M"], [1e3, "k"]]) {
    if (Math.abs(value) >= size) return `${Number((value / size).toPrecision(3))}${unit}`;
  }
  return String(value);
}

/** Return a measured number with three significant digits. */
export function number(value) {
  if (!isNumber(value)) return NOTHING;
  return signed(Math.abs(value) >= 1000 ? value.toFixed(0) : String(Number(value.toPrecision(3))));
}

export function score(value) {
  return isNumber(value) ? signed((Math.round(value * 100) / 100 + 0).toFixed(2)) : NOTHING;
}

/** Return a mean with its standard error, both at the precision that the error allows. */
export function withError(value, error) {
  if (!isNumber(value)) return NOTHING;
  if (!isNumber(error) || error <= 0) return number(value);
  const decimals = Math.max(0, Math.min(4, 1 - Math.floor(Math.log10(error))));
  return signed(`${value.toFixed(decimals)} ± ${error.toFixed(decimals)}`);
}

export function size(bytes) {
  if (!isNumber(bytes)) return NOTHING;
  const units = ["B", "KiB", "MiB", "GiB", "TiB"];
  let index = 0;
  while (bytes >= 1024 && index < units.length - 1) { bytes /= 1024; index += 1; }
  return `${index ? bytes.toFixed(1) : bytes} ${units[index]}`;
}

export function share(value) {
  return isNumber(value) ? `${Math.round(value * 100)}%` : NOTHING;
}

/** Return a duration in its largest units: 3.2 s, 5 min, 2 h 5 min, 3 d 4 h. */
export function duration(seconds) {
  if (!isNumber(seconds)) return NOTHING;
  const s = Math.max(0, seconds);
  if (s < 10) return `${s.toFixed(1)} s`;
  if (s < 120) return `${Math.round(s)} s`;
  if (s < 3600) return `${Math.round(s / 60)} min`;
  if (s < 86400) return `${Math.floor(s / 3600)} h ${Math.floor((s % 3600) / 60)} min`;
  return `${Math.floor(s / 86400)} d ${Math.floor((s % 86400) / 3600)} h`;
}

export function moment(at) {
  return isNumber(at) ? new Date(at * 1000).toLocaleString() : NOTHING;
}

function sinceText(at) {
  const seconds = Date.now() / 1000 - at;
  if (Math.abs(seconds) < 5) return "now";
  const length = Math.abs(seconds) < 10 ? `${Math.round(Math.abs(seconds))} s` : duration(Math.abs(seconds));
  return seconds < 0 ? `in ${length}` : `${length} ago`;
}

/** Return an element that shows how long ago a time was, and goes on doing so. */
export function ago(at) {
  if (!isNumber(at)) return NOTHING;
  const iso = new Date(at * 1000).toISOString();
  return el("time", { datetime: iso, title: moment(at), "data-ago": at }, sinceText(at));
}

/** Return an element that shows the time since, as a duration. */
export function running(at) {
  return el("time", { "data-since": at }, duration(Date.now() / 1000 - at));
}

/** Bring every shown time up to date. */
export function tick() {
  for (const node of document.querySelectorAll("time[data-ago]")) {
    const text = sinceText(Number(node.dataset.ago));
    if (node.textContent !== text) node.textContent = text;
  }
  for (const node of document.querySelectorAll("time[data-since]")) {
    node.textContent = duration(Date.now() / 1000 - Number(node.dataset.since));
  }
}

/** Return a stored trigger as text: "every 4 min", "cron 0 3 * * *". */
export function trigger(text) {
  const [kind, ...rest] = text.split(":");
  const value = rest.join(":");
  return kind === "interval" ? `every ${duration(Number(value)).replace(/ 0 (min|h)$/, "")}` : `${kind} ${value}`.trim();
}

export const STATE_KINDS = {
  active: "good", running: "good", succeeded: "good", published: "good",
  pending: "warn", paused: "muted", starting: "warn", stopping: "warn", interrupted: "warn", missed: "warn",
  overran: "warn", skipped: "muted", stopped: "muted", rolled_back: "warn",
  quarantined: "bad", refused: "bad", failed: "bad", rejected: "warn",
};
