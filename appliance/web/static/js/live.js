// Live updates of a list: one event stream while the page is looked at; new issues are counted and announced, never pushed in.
import { toast } from "./controls.js";

let source = null;
const seen = new Set();

function stop() {
  source?.close();
  source = null;
}

function start() {
  const place = document.querySelector("[data-live]");
  if (!place || document.hidden) return stop();
  if (source && source.url === new URL(place.dataset.live, location.origin).href) return;
  stop();
  seen.clear();
  source = new EventSource(place.dataset.live);
  source.addEventListener("issues", (event) => {
    for (const id of JSON.parse(event.data).ids) {
      if (!document.querySelector(`tr[data-id="${id}"]`)) seen.add(id);
    }
    show();
  });
  source.addEventListener("ended", () => { stop(); toast("You are signed out here. Load the page again to sign in.", "bad"); });
}

function show() {
  const place = document.querySelector("[data-live]");
  if (!place || !seen.size) return;
  const words = seen.size === 1 ? "1 new issue" : `${seen.size} new issues`;
  let button = place.querySelector("button");
  if (!button) {
    button = document.createElement("button");
    button.type = "button";
    button.className = "btn";
    button.addEventListener("click", () => {
      seen.clear();
      const list = document.getElementById("issues");
      window.htmx ? window.htmx.ajax("GET", list.dataset.address, { target: "#issues", swap: "outerHTML" }) : location.reload();
    });
    place.append(button);
  }
  button.textContent = `${words} · show`;
}

document.addEventListener("visibilitychange", () => (document.hidden ? setTimeout(() => document.hidden && stop(), 60_000) : start()));
document.addEventListener("htmx:afterSettle", start);
addEventListener("pagehide", stop);
addEventListener("pageshow", start);
start();
