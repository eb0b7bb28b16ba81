// The scenarios as cards: what each breaks, and whether its report has arrived.
import { envelopes } from "./wire/watch.js";
import { linkOf } from "./wire/links.js";
import { errors } from "./scenarios/errors.js";
import { context } from "./scenarios/context.js";
import { network } from "./scenarios/network.js";
import { page } from "./scenarios/page.js";
import { requests } from "./scenarios/requests.js";

const GROUPS = [errors, requests, page, context, network];

export function showScenarios(condev, config) {
  const board = document.getElementById("scenarios");
  for (const { id, title, note, scenarios } of GROUPS) {
    const section = element("section", "group");
    const heading = element("h2", "", title);
    heading.id = `group-${id}`;
    section.setAttribute("aria-labelledby", heading.id);
    const cards = element("div", "cards");
    cards.append(...scenarios.map((scenario) => card(scenario, condev, config)));
    section.append(heading, element("p", "soft", note), cards);
    board.append(section);
  }
}

/**
 * A scenario: `id`, `title`, `note`, `run(condev, say)`, and `expects(item)`, true of an item that reports it. `run` may
 * take its time, and say how it goes; what it throws is what the page would throw.
 */
function card({ id, title, note, run, expects }, condev, config) {
  const box = element("div", "card");
  const button = element("button");
  button.type = "button";
  button.dataset.cause = id;
  button.id = `cause-${id}`; // what a breadcrumb of the click is called by
  button.append(title, element("small", "", note));
  const state = element("p", "state");
  state.setAttribute("aria-live", "polite");
  box.append(button, state);
  let since = 0;
  const say = (text) => {
    state.textContent = text;
  };
  button.addEventListener("click", () => {
    since = Date.now();
    box.dataset.state = "waiting";
    say("…");
    run(condev, say);
  });
  envelopes.addEventListener("sent", ({ detail: { header, items, status, at } }) => {
    const found = box.dataset.state === "waiting" && at >= since && items.find((item) => expects?.(item));
    if (!found || status === 0 || status >= 400) return;
    box.dataset.state = "arrived";
    const link = element("a", "", "see it on the dashboard");
    link.href = linkOf(found, header, config);
    state.replaceChildren(status === undefined ? "✓ handed over, " : "✓ taken, ", link);
  });
  return box;
}

function element(name, className = "", text = "") {
  const made = document.createElement(name);
  if (className) made.className = className;
  if (text) made.textContent = text;
  return made;
}
