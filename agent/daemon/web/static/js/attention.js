// How much attention a family needs, and why.

import { score } from "./format.js";

const FORGOTTEN = 0.1;

/** Return {rank, text, kind, found, hint}; the higher the rank, the sooner a person should look. From 50 on it needs one. */
export function attentionOf(family) {
  if (family.state === "refused") {
    return { rank: 90, text: "refused", kind: "bad", found: family.state_reason,
      hint: `correct the environment, then learnd env resume ${family.name}` };
  }
  if (family.state === "quarantined") {
    return { rank: 80, text: `quarantined after ${family.strikes} strikes`, kind: "bad", found: family.state_reason,
      hint: `it is tried again by itself; at once by learnd env resume ${family.name}` };
  }
  if (family.strikes > 0) {
    return { rank: 60, text: family.strikes === 1 ? "1 strike" : `${family.strikes} strikes in a row`, kind: "warn",
      found: family.state_reason, hint: "see its last runs; a success clears them" };
  }
  if (family.reference_failure) {
    return { rank: 55, text: "its reference could not be measured", kind: "warn", found: family.reference_failure.error,
      hint: `it is tried again by itself; or declare it: learnd env reference ${family.name} --return NUMBER` };
  }
  if (family.state === "pending") return { rank: 30, text: "waits for admission", kind: "warn" };
  if ((family.forgetting ?? 0) >= FORGOTTEN) return { rank: 40, text: `forgot ${score(family.forgetting)}`, kind: "warn" };
  if (family.state === "paused") return { rank: 5, text: "paused", kind: "" };
  if (family.evaluated_at === null) return { rank: 10, text: "not evaluated yet", kind: "" };
  return { rank: 1, text: "", kind: "" };
}
