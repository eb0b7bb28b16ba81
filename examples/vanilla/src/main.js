// The page: loads the SDK as any page would, makes a button for each scenario, and shows what was sent beside them.
import "./page.css";
import { envelopes, watch } from "./wire/watch.js"; // first: the SDK takes `fetch` as it finds it
import { showWire } from "./wire/list.js";
import { loadConfig, loadSdk } from "./sdk.js";
import { showShelf } from "./shelf.js";
import { showScenarios } from "./board.js";

watch();
const config = await loadConfig();
document.getElementById("dashboard").href = config.dashboard;
document.getElementById("dsn").textContent = config.dsn || "nowhere: give a DSN in the address, ?dsn=";
showWire(config);
showShelf();
const condev = await loadSdk(config).catch(sayWhy);
if (condev) {
  showScenarios(condev, config);
  showFacts();
  envelopes.addEventListener("sent", showFacts);
  document.documentElement.dataset.ready = "yes"; // for tests: everything is there
}

function sayWhy(problem) {
  document.getElementById("weight").textContent = `${problem.message}. In a checkout: python hatch_build.py`;
}

function showFacts() {
  const loaded = performance.getEntriesByType("resource").filter(({ name }) => /\/sdk(\.js|\/)/.test(name));
  const bytes = loaded.reduce((sum, { encodedBodySize }) => sum + encodedBodySize, 0);
  const names = loaded.map(({ name }) => name.split("/").at(-1)).join(", ");
  document.getElementById("weight").textContent = `${(bytes / 1000).toFixed(1)} kB so far: ${names}`;
  document.getElementById("view").textContent = config.dsn ? condev.page.id.slice(0, 12) : "not reported";
}
