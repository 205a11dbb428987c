// Reading /api/v1, and following the stream of changes.

const PREFIX = "/api/v1";
const POLL_MS = 5000;
const RETRY_MS = 15000;

export class ApiError extends Error {}

/** Return the values of a resource. The browser revalidates what it has by the ETag. */
export async function get(path) {
  const response = await fetch(PREFIX + path, { cache: "no-cache", credentials: "same-origin" });
  if (response.status === 401) { location.reload(); throw new ApiError("the token is needed"); }
  if (!response.ok) {
    const body = await response.json().catch(() => null);
    throw new ApiError(body?.error ? `${body.error.found} ${body.error.hint}` : `status ${response.status}`);
  }
  return response.json();
}

/**
 * Follow the service. `onMessage` gets each message, and null when everything may have changed; `onState` gets
 * "live", "polling", "lost" or "hidden". Where the stream is full, the page asks every few seconds. A hidden page
 * follows nothing: browsers allow six connections to a service, and each stream holds one.
 */
export function follow(onMessage, onState) {
  let [source, polling, retry] = [null, 0, 0];
  const close = () => {
    source?.close();
    clearInterval(polling);
    clearTimeout(retry);
  };
  const poll = () => {
    close();
    onState("polling");
    polling = setInterval(() => onMessage(null), POLL_MS);
    retry = setTimeout(open, RETRY_MS);
  };
  const open = () => {
    close();
    source = new EventSource(`${PREFIX}/stream`);
    source.onopen = () => { onState("live"); onMessage(null); };
    source.onmessage = (event) => onMessage(JSON.parse(event.data));
    source.onerror = () => (source.readyState === EventSource.CLOSED ? poll() : onState("lost"));
  };
  const adapt = () => {
    if (document.hidden) { close(); onState("hidden"); } else open();
  };
  document.addEventListener("visibilitychange", adapt);
  addEventListener("pagehide", close);
  addEventListener("pageshow", (event) => event.persisted && adapt());
  adapt();
}
