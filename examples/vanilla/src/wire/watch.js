// Looks over the SDK's shoulder: every envelope that leaves the page, decoded. It also plays the pulled network cable.

const KEPT = 40; // envelopes in the list and for the next page
const STORE = "example.wire";
const SDK_PATH = /\/(v2|tracking|replay)\/[0-9a-f]{32}/;

/** Events: "sent" with an entry when one left or its answer came. */
export const envelopes = new EventTarget();
/** The newest first. */
export const entries = restore();

let unplugged = false;
let count = 0;

export function watch() {
  const { fetch, navigator } = window;
  window.fetch = async function (input, init) {
    if (unplugged) throw new TypeError("Failed to fetch (the cable is pulled)");
    const url = String(input?.url ?? input);
    if (!SDK_PATH.test(url)) return fetch.call(this, input, init);
    const entry = begin(init?.keepalive ? "fetch, keepalive" : "fetch", url, init?.body);
    try {
      const answer = await fetch.call(this, input, init);
      end(entry, answer.status);
      return answer;
    } catch (problem) {
      end(entry, 0);
      throw problem;
    }
  };
  const { sendBeacon } = navigator;
  navigator.sendBeacon = function (url, body) {
    if (unplugged) return false;
    const taken = sendBeacon.call(this, url, body);
    // The browser tells nobody what became of a beacon.
    if (taken && SDK_PATH.test(String(url))) end(begin("beacon", String(url), body), undefined);
    return taken;
  };
  addEventListener("pagehide", store);
}

/** Take the network away from this page, or give it back. */
export function plug(isIn) {
  unplugged = !isIn;
  Object.defineProperty(navigator, "onLine", { value: isIn, configurable: true });
  dispatchEvent(new Event(isIn ? "online" : "offline"));
}

export function clear() {
  entries.length = 0;
  sessionStorage.removeItem(STORE);
}

function begin(how, url, body) {
  const entry = { number: `${Date.now()}-${++count}`, how, at: Date.now(), bytes: sizeOf(body), status: null, header: {}, items: [] };
  entry.decoded = decode(body, new URL(url, location.href).searchParams.get("enc") === "gzip").then(([header, ...items]) => {
    Object.assign(entry, { header, items });
  });
  entries.unshift(entry);
  entries.length = Math.min(entries.length, KEPT);
  return entry;
}

async function end(entry, status) {
  entry.status = status;
  await entry.decoded;
  envelopes.dispatchEvent(new CustomEvent("sent", { detail: entry }));
  store();
}

function sizeOf(body) {
  return typeof body === "string" ? new Blob([body]).size : (body?.byteLength ?? body?.size ?? 0);
}

async function decode(body, isGzip) {
  try {
    let stream = new Response(body).body;
    if (isGzip) stream = stream.pipeThrough(new DecompressionStream("gzip"));
    const text = await new Response(stream).text();
    return text.split("\n").filter(Boolean).map((line) => JSON.parse(line));
  } catch (problem) {
    return [{ unreadable: String(problem) }];
  }
}

function store() {
  const kept = entries.map(({ decoded, items, ...entry }) => ({ ...entry, items: items.map(slim) }));
  try {
    sessionStorage.setItem(STORE, JSON.stringify(kept));
  } catch {
    // Full, or switched off: the list is of this page alone then.
  }
}

/** Replays are megabytes; the list shows how many events, not which. */
function slim(item) {
  if (item.type !== "replay_segment") return item;
  const { events, data, ...rest } = item;
  return { ...rest, events: events ? `${events.length} events of rrweb` : undefined, data: data ? `${data.length} characters, gzipped` : undefined };
}

function restore() {
  try {
    return JSON.parse(sessionStorage.getItem(STORE) ?? "[]");
  } catch {
    return [];
  }
}
