// The keyboard: / j k enter x e i m [ ] g-then-letter ?. Never while typing, never with ctrl, alt or meta.
import { act, currentRow, move, pick } from "./list.js";

const PLACES = { o: "/", i: "/issues", p: "/projects", r: "/releases", a: "/alerts", s: "/system" };
let going = 0;

const typing = (element) => element?.closest?.("input:not([type=checkbox], [type=radio]), textarea, select, [contenteditable]");
const press = (selector) => {
  const element = document.querySelector(selector);
  element?.click();
  return Boolean(element);
};

// On the list a key acts on what is picked; on an issue's page on the issue.
const actions = {
  "/": () => { const search = document.getElementById("q"); search?.focus(); search?.select(); return Boolean(search); },
  j: () => move(1),
  k: () => move(-1),
  x: () => pick(),
  e: () => act("resolve") || press('[data-key="e"]'),
  i: () => act("ignore") || press('[data-key="i"]'),
  m: () => act("merge"),
  "[": () => press('[data-step="prev"]'),
  "]": () => press('[data-step="next"]'),
  "?": () => { document.getElementById("help")?.showModal(); return true; },
};

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || event.defaultPrevented) return;
  if (event.key === "Escape") {
    for (const menu of document.querySelectorAll("details.menu[open]")) { menu.open = false; menu.querySelector("summary").focus(); }
    if (document.activeElement?.id === "q") document.activeElement.blur();
    return;
  }
  if (typing(event.target) || document.querySelector("dialog[open]")) return;
  const now = Date.now();
  if (going && now - going < 1500) {
    going = 0;
    const link = PLACES[event.key] && document.querySelector(`.nav a[href="${PLACES[event.key]}"]`);
    if (link || event.key === "o") { event.preventDefault(); location.assign(PLACES[event.key]); }
    return;
  }
  if (event.key === "g") { going = now; return; }
  if (event.key === "Enter" && !event.target.closest("a, button, summary, input")) {
    const link = currentRow()?.querySelector("a[href]");
    if (link) { event.preventDefault(); link.click(); }
    return;
  }
  if (event.key.length === 1 && actions[event.key]?.()) event.preventDefault();
});
