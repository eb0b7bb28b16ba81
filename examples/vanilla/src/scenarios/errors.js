// Errors of each kind that a page can have.
import { products, sumCart } from "../shelf.js";
import { event } from "./expect.js";

const tree = {};
tree.self = tree;

export const errors = {
  id: "errors",
  title: "Errors",
  note: "Thrown, rejected, caught. Each becomes an event, and alike ones become one issue.",
  scenarios: [
    {
      id: "typeError",
      title: "TypeError in the checkout",
      note: "a price that is not there",
      expects: event("undefined"),
      run: () => void sumCart([{ sku: "X-404", quantity: 2 }], new Map(products.map(({ sku, price }) => [sku, price]))),
    },
    {
      id: "rejection",
      title: "Unhandled rejection",
      note: "a promise nobody waits for",
      expects: event("Suggestions are not available"),
      run: () => void fetchSuggestions(),
    },
    {
      id: "plainRejection",
      title: "Rejected with an object",
      note: "no Error, no stack, still readable",
      expects: event("code, retryAfter"),
      run: () => void Promise.reject({ code: "E_STOCK", retryAfter: 30 }),
    },
    {
      id: "chain",
      title: "Error with causes",
      note: "payment fails because the network did",
      expects: event("Payment of 42 failed"),
      run: () => charge(42),
    },
    {
      id: "aggregate",
      title: "Several errors in one",
      note: "no supplier answered: an AggregateError",
      expects: event("All promises were rejected"),
      run: () => void Promise.any([ask("north"), ask("south")]),
    },
    {
      id: "recursion",
      title: "Stack overflow",
      note: "a tree that contains itself",
      expects: event("Maximum call stack"),
      run: () => void walk(tree),
    },
    {
      id: "timer",
      title: "Error in a timer",
      note: "half a second after the click",
      expects: event("The offer has ended"),
      run: () => void setTimeout(endOffer, 500),
    },
    {
      id: "notAnError",
      title: "Throw a string",
      note: "what old code does",
      expects: event("cart is locked"),
      run: () => {
        throw "cart is locked";
      },
    },
    {
      id: "handled",
      title: "Handled error",
      note: "caught and reported, with context",
      expects: event("JSON"),
      run: (condev) => {
        try {
          JSON.parse("<!doctype html>");
        } catch (error) {
          condev.captureException(error, { tags: { part: "recommendations" }, extra: { attempt: 2 }, contexts: { recommendations: { cached: false } } });
        }
      },
    },
    {
      id: "console",
      title: "console.error",
      note: "reported because this page asks for it",
      expects: event("The price list is empty"),
      run: () => console.error("The price list is empty", { list: "spring" }),
    },
    {
      id: "numbers",
      title: "Messages with numbers",
      note: "three orders, one issue",
      expects: event("was rejected after"),
      run: (condev) => {
        for (const order of [4711, 4712, 4713]) condev.captureMessage(`Order ${order} was rejected after ${order % 7} tries`, "error");
      },
    },
    {
      id: "fingerprint",
      title: "Own fingerprint",
      note: "grouped as the page says",
      expects: event("timed out"),
      run: (condev) => void condev.captureException(new Error(`Supplier ${Math.round(Math.random() * 1000)} timed out`), { fingerprint: ["supplier-timeout"] }),
    },
    {
      id: "hostile",
      title: "Markup in a message",
      note: "must stay text everywhere",
      expects: event("onerror=alert"),
      run: (condev) => void condev.captureException(new Error('<img src=x onerror=alert(1)> </script><script>alert("no")</script>')),
    },
    {
      id: "long",
      title: "Very long message",
      note: "and every part of an event filled",
      expects: event("A very long message"),
      run: (condev) => {
        for (let step = 0; step < 40; step += 1) condev.addBreadcrumb({ category: "ui.click", message: `button#step-${step}`, data: { step } });
        condev.captureException(new RangeError(`A very long message. ${"It goes on and on. ".repeat(200)}`), { extra: { nested: { deep: { deeper: [1, 2, { three: true }] } } } });
      },
    },
  ],
};

async function fetchSuggestions() {
  throw new Error("Suggestions are not available");
}

async function ask(supplier) {
  throw new RangeError(`Supplier ${supplier} has no stock`);
}

function charge(amount) {
  try {
    openConnection();
  } catch (cause) {
    throw new Error(`Payment of ${amount} failed`, { cause });
  }
}

function openConnection() {
  throw new TypeError("network connection was lost");
}

function walk(node) {
  return 1 + walk(node.self);
}

function endOffer() {
  throw new RangeError("The offer has ended");
}
