// The page: reads what the stream says has changed, and shows it.

import { follow, get } from "./api.js";
import { byId } from "./dom.js";
import { firstFamily, select, showFamilies, showTrends } from "./families.js";
import { redraw, selectedFamily, showFamily } from "./family.js";
import { tick } from "./format.js";
import { showEvents, showJobs, showQuarantines } from "./jobs.js";
import { showMatrix, showMemory } from "./memory.js";
import { showHealth, showNow, showUnread } from "./now.js";
import { showVersions } from "./versions.js";

const LIVE_TEXT = { live: "live", polling: "every 5 s", lost: "reconnecting", hidden: "paused" };
const page = { status: null, health: null, matrix: null, message: null };

/** Return a function that runs `work` soon, at most once in `gap` ms; what comes meanwhile is done once, later. */
function paced(work, gap) {
  let [last, timer, isBusy, isWanted] = [0, 0, false, false];
  const run = async () => {
    timer = 0;
    [isBusy, isWanted, last] = [true, false, Date.now()];
    try { await work(); page.problem = ""; } catch (error) { if (!page.isLost) showUnread(`${error.message}`); }
    isBusy = false;
    if (isWanted) ask();
  };
  const ask = () => {
    isWanted = isBusy;
    if (!isBusy && !timer) timer = setTimeout(run, Math.max(0, last + gap - Date.now()));
  };
  return ask;
}

function announce(text) {
  if (byId("announce").textContent !== text) byId("announce").textContent = text;
}

function wantedFamily() {
  const name = new URLSearchParams(location.hash.slice(1)).get("family");
  return name && page.status.families.some((f) => f.name === name) ? name : selectedFamily() || firstFamily();
}

const readStatus = paced(async () => {
  const [status, health] = await Promise.all([get("/status"), get("/health")]);
  const before = page.status;
  Object.assign(page, { status, health });
  showNow(status);
  showHealth(health, status);
  showFamilies(status.families);
  if (before && before.policy_version !== status.policy_version) announce(`version ${status.policy_version} is served`);
  if (!before) choose();
  document.body.dataset.ready = "true";
}, 1500);
const readFamily = paced(() => showFamily(wantedFamily(), { withCurves: false }), 5000);
const readCurves = paced(async () => {
  showTrends(await get("/trends"));
  page.matrix = await get("/matrix");
  showMatrix(page.matrix);
  if (page.status) await showFamily(wantedFamily());
}, 4000);
const readJobs = paced(async () => showJobs(await get("/jobs?runs=30")), 5000);
const readEvents = paced(async () => {
  showEvents(await get("/events?limit=60"));
  showQuarantines(await get("/quarantines?limit=5"));
}, 5000);
const readMemory = paced(async () => showMemory(await get("/memory")), 10000);
const readVersions = paced(async () => showVersions(await get("/versions?limit=50")), 2000);

function choose() {
  if (!page.status) return;
  const name = wantedFamily();
  select(name);
  showFamily(name).catch((error) => showUnread(error.message));
}

function readAll() {
  for (const read of [readStatus, readCurves, readJobs, readEvents, readMemory, readVersions]) read();
}

follow((message) => {
  const before = page.message;
  page.message = message;
  if (!message || !before) { readAll(); return; }
  if (message.health !== before.health) announce(message.health === "ok" ? "health is good" : "health is red");
  readStatus();
  if (message.revision !== before.revision) { readJobs(); readEvents(); readMemory(); readFamily(); }
  if (message.evaluations !== before.evaluations) readCurves();
  if (message.versions !== before.versions) readVersions();
}, (state) => {
  page.isLost = state === "lost";
  byId("live").className = `live ${state === "live" ? "on" : "off"}`;
  byId("live-text").textContent = LIVE_TEXT[state];
  if (state === "lost") showUnread("The service does not answer.");
});

addEventListener("hashchange", () => {
  if (!location.hash.startsWith("#family=")) return;
  choose();
  if (matchMedia("(max-width: 1250px)").matches) byId("family").scrollIntoView();
});
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => page.matrix && setTimeout(() => showMatrix(page.matrix), 50));
setInterval(tick, 1000);
addEventListener("load", redraw, { once: true });
