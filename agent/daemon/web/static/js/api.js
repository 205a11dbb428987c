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
 * "live", "polling" or "lost". Where the stream is full, the page asks every few seconds.
 */
export function follow(onMessage, onState) {
  let timer = 0;
  const open = () => {
    const source = new EventSource(`${PREFIX}/stream`);
    source.onopen = () => { clearInterval(timer); onState("live"); onMessage(null); };
    source.onmessage = (event) => onMessage(JSON.parse(event.data));
    source.onerror = () => {
      if (source.readyState !== EventSource.CLOSED) { onState("lost"); return; }
      source.close();
      onState("polling");
      clearInterval(timer);
      timer = setInterval(() => onMessage(null), POLL_MS);
      setTimeout(open, RETRY_MS);
    };
    addEventListener("pagehide", () => source.close(), { once: true });
  };
  addEventListener("pageshow", (event) => { if (event.persisted) open(); });
  open();
}
