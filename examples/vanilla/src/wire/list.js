// The list of what was sent: one entry an envelope, its items with a link each, and all of it as JSON when opened.
import { clear, entries, envelopes } from "./watch.js";
import { kindOf, linkOf, wordsOf } from "./links.js";

const HOLDS = 40; // as the watcher keeps

export function showWire(config) {
  const list = document.getElementById("wire");
  const totals = () => {
    const items = entries.reduce((sum, entry) => sum + entry.items.length, 0);
    const bytes = entries.reduce((sum, entry) => sum + entry.bytes, 0);
    const words = entries.length
      ? `${items} ${items === 1 ? "thing" : "things"} in ${entries.length} ${entries.length === 1 ? "request" : "requests"}, ${(bytes / 1000).toFixed(1)} kB`
      : "nothing yet";
    document.getElementById("totals").textContent = words;
    document.getElementById("peek").textContent = `Sent: ${words} ↓`;
  };
  list.append(...entries.map((entry) => row(entry, config, true)));
  totals();
  envelopes.addEventListener("sent", ({ detail: entry }) => {
    document.getElementById(`e${entry.number}`)?.remove();
    list.prepend(row(entry, config, false));
    while (list.children.length > HOLDS) list.lastElementChild.remove();
    totals();
  });
  document.getElementById("clear").addEventListener("click", () => {
    clear();
    list.replaceChildren();
    totals();
  });
}

function row(entry, config, isEarlier) {
  const item = element("li", isEarlier ? "entry earlier" : "entry");
  item.id = `e${entry.number}`;
  const head = element("p", "entry-head");
  const time = element("time", "", new Date(entry.at).toLocaleTimeString());
  head.append(time, element("span", `status ${statusClass(entry.status)}`, statusWords(entry)), element("span", "soft", `${entry.how}, ${entry.bytes} B`));
  const things = element("ul", "things");
  for (const one of entry.items) {
    const thing = element("li");
    const link = element("a", "", wordsOf(one));
    link.href = linkOf(one, entry.header, config);
    thing.append(element("span", `kind ${classOf(one)}`, kindOf(one)), link);
    things.append(thing);
  }
  const details = element("details");
  const summary = element("summary", "", "The envelope");
  const code = element("pre");
  code.tabIndex = 0; // scrolls: reachable by keyboard
  details.addEventListener("toggle", () => {
    code.textContent = [entry.header, ...entry.items].map((line) => JSON.stringify(shorten(line), null, 1)).join("\n");
  });
  details.append(summary, code);
  item.append(head, things, details);
  return item;
}

/** What is a fault is red: an order that was placed is none. */
function classOf({ type, kind, level }) {
  if (type !== "event") return type;
  return level === "info" || kind === "custom" || kind === "feedback" ? "fact" : "error";
}

const LONG = 2000;

function shorten(value) {
  if (typeof value === "string") return value.length > LONG ? `${value.slice(0, LONG)}… (${value.length} characters)` : value;
  if (Array.isArray(value)) return value.length > 60 ? [...value.slice(0, 60).map(shorten), `… ${value.length - 60} more`] : value.map(shorten);
  if (value && typeof value === "object") return Object.fromEntries(Object.entries(value).map(([name, one]) => [name, shorten(one)]));
  return value;
}

function statusClass(status) {
  if (status === null || status === undefined) return "open";
  return status >= 200 && status < 300 ? "good" : "bad";
}

function statusWords({ status }) {
  if (status === undefined || status === null) return "handed to the browser";
  return status ? `answered ${status}` : "no answer";
}

function element(name, className = "", text = "") {
  const made = document.createElement(name);
  if (className) made.className = className;
  if (text) made.textContent = text;
  return made;
}
