// What an application does: set the SDK up once, then break. Each function below is one button of the page.
import * as Sentry from "./vendor/sentry.js";

const query = new URLSearchParams(location.search);
const config = await loadConfig();
const said = document.getElementById("said");
document.getElementById("dsn").textContent = config.dsn || "nowhere: give a DSN in the address";

Sentry.init({
  dsn: config.dsn,
  release: query.get("release") ?? config.release ?? "example-shop@1.0.0",
  environment: query.get("environment") ?? config.environment ?? "production",
  initialScope: { tags: { shop: "example" } },
});

async function loadConfig() {
  if (query.has("dsn")) return { dsn: query.get("dsn") };
  const answer = await fetch("../config.json");
  return answer.ok ? answer.json() : { dsn: "" };
}

// A little shop, so that stacks have more than one frame.
function lineTotal(line, prices) {
  const entry = prices[line.sku];
  return entry.price * line.quantity;
}
function sumCart(lines, prices) {
  return lines.reduce((sum, line) => sum + lineTotal(line, prices), 0);
}
function walk(node) {
  return 1 + walk(node.self);
}
async function fetchSuggestions() {
  throw new Error("Suggestions are not available");
}
function charge(amount) {
  try {
    throw new TypeError("network connection was lost");
  } catch (cause) {
    throw new Error(`Payment of ${amount} failed`, { cause });
  }
}
const tree = {};
tree.self = tree;

const causes = {
  typeError() { sumCart([{ sku: "A-100", quantity: 2 }], {}); },
  rejection() { fetchSuggestions(); },
  chain() { charge(42); },
  recursion() { walk(tree); },
  timer() { setTimeout(() => { throw new RangeError("The offer has ended"); }, 500); },
  notAnError() { throw "cart is locked"; },
  handled() {
    try {
      JSON.parse("<!doctype html>");
    } catch (error) {
      Sentry.captureException(error, { tags: { part: "recommendations" }, extra: { attempt: 2, body: "<!doctype html>" }, contexts: { request: { cached: false } } });
    }
  },
  sameAgain() {
    for (let index = 0; index < 25; index += 1) {
      // The SDK drops an event that equals the one before it, so the words differ; the stack groups them.
      Sentry.captureException(new Error(`Stock service is busy (${index})`));
    }
  },
  numbers() { for (const order of [4711, 4712, 4713]) Sentry.captureMessage(`Order ${order} was rejected after ${order % 7} tries`, "error"); },
  fingerprint() { Sentry.captureException(new Error(`Supplier ${Math.round(Math.random() * 1000)} timed out`), { fingerprint: ["supplier-timeout"] }); },
  release() {
    const later = new URL(location.href);
    later.searchParams.set("release", "example-shop@1.1.0");
    if (query.get("release") === "example-shop@1.1.0") causes.typeError();
    else location.assign(later);
  },
  message() { Sentry.captureMessage("The cart was emptied"); },
  warning() { Sentry.captureMessage("Price list is older than a day", "warning"); },
  async network() {
    const answer = await fetch("no-such-price.json");
    if (!answer.ok) throw new Error(`GET /no-such-price.json answered ${answer.status}`);
  },
  resource() {
    const image = new Image();
    image.onerror = () => { throw new Error("The product's picture did not load"); };
    image.src = "no-such-picture.png";
  },
  long() {
    Sentry.setUser({ id: "customer-8841", email: "customer@example.com", username: "grace" });
    for (let index = 0; index < 40; index += 1) Sentry.addBreadcrumb({ category: "ui.click", message: `button#step-${index}`, data: { index } });
    Sentry.captureException(new Error(`A very long message. ${"It goes on and on. ".repeat(200)}`), { extra: { nested: { deep: { deeper: [1, 2, { three: true }] } } } });
  },
  hostile() { Sentry.captureException(new Error('<img src=x onerror=alert(1)> </script><script>alert("no")</script> javascript:alert(1)')); },
  user() { Sentry.setUser({ id: "customer-8841", username: "grace" }); say("signed in as grace"); },
};

function say(text) { said.textContent = text; }

document.addEventListener("click", (event) => {
  const button = event.target.closest("button[data-cause]");
  if (!button) return;
  say("reported");
  causes[button.dataset.cause]();
});
document.documentElement.dataset.ready = "yes"; // for tests: the SDK is set up
