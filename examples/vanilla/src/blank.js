// A page whose application never starts. Once that was reported (or it took too long) it says so.
import "./page.css";
import { loadConfig, loadSdk } from "./sdk.js";
import { linkOf } from "./wire/links.js";
import { envelopes, watch } from "./wire/watch.js";

const PATIENCE = 20_000; // ms; the SDK looks several times before it reports

watch();
const config = await loadConfig();
await loadSdk(config);
const late = setTimeout(() => show("No report was sent so far."), PATIENCE);
envelopes.addEventListener("sent", ({ detail: { header, items, status } }) => {
  const found = items.find((item) => item.type === "event" && item.kind === "white_screen");
  if (!found || (status !== undefined && (status === 0 || status >= 400))) return;
  clearTimeout(late);
  show("This page stayed white, and that was reported.", linkOf(found, header, config));
});

function show(text, address) {
  const box = document.createElement("main");
  box.className = "after";
  const words = document.createElement("p");
  words.textContent = text;
  box.append(words);
  if (address) box.append(link(address, "See it on the dashboard"));
  box.append(link(`./${location.search}`, "Back to the shop"));
  document.body.replaceChildren(box);
}

function link(address, text) {
  return Object.assign(document.createElement("a"), { href: address, textContent: text });
}
