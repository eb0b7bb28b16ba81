// What the page tells by itself, and what goes with every event.
import { event, kind, type } from "./expect.js";

export const context = {
  id: "context",
  title: "Told by the page",
  note: "Messages, facts, people, time: the functions of the SDK.",
  scenarios: [
    {
      id: "message",
      title: "Message",
      note: "of level warning, without a stack",
      expects: event("Price list is older than a day", "message"),
      run: (condev) => void condev.captureMessage("Price list is older than a day", "warning"),
    },
    {
      id: "custom",
      title: "Event of your own",
      note: "“order placed”, with its data",
      expects: kind("custom"),
      run: (condev) => void condev.captureEvent({ kind: "custom", level: "info", message: "order placed", extra: { items: 3, total: 71.5 } }),
    },
    {
      id: "trail",
      title: "Breadcrumbs",
      note: "a trail of steps, then the error they led to",
      expects: event("Nobody came to the door"),
      run: (condev) => {
        console.warn("The courier is late");
        condev.addBreadcrumb({ category: "delivery", message: "courier rang twice", level: "info", data: { door: "blue" } });
        setTimeout(() => condev.captureException(new Error("Nobody came to the door")), 50);
      },
    },
    {
      id: "user",
      title: "Sign in as somebody",
      note: "later events carry the user and a tag",
      expects: event("Grace signed in", "message"),
      run: (condev) => {
        condev.setUser({ id: "customer-8841", username: "grace" });
        condev.setTag("plan", "plus");
        condev.setContext("cart", { items: 2, currency: "EUR" });
        condev.captureMessage("Grace signed in", "info");
      },
    },
    {
      id: "span",
      title: "Timed operation",
      note: "a checkout of two steps, as a trace",
      expects: type("span"),
      run: async (condev) => {
        const checkout = condev.startSpan({ name: "checkout", op: "shop.checkout" });
        const payment = condev.startSpan({ name: "payment", op: "shop.payment", parent: checkout, attributes: { provider: "bank" } });
        await new Promise((resolve) => setTimeout(resolve, 80));
        payment?.end();
        checkout?.end();
      },
    },
    {
      id: "feedback",
      title: "A visitor's words",
      note: "feedback, linked to this page view",
      expects: kind("feedback"),
      run: (condev) => void condev.captureEvent({ kind: "feedback", level: "info", message: "The kettle is nice, but where is the lid?" }),
    },
    {
      id: "release",
      title: "From the next release",
      note: "brings a resolved issue back",
      expects: event("undefined"),
      run: () => {
        const later = new URL(location.href);
        if (later.searchParams.get("release") === "example-shop@1.1.0") document.querySelector('[data-cause="typeError"]').click();
        else {
          later.searchParams.set("release", "example-shop@1.1.0");
          location.assign(later);
        }
      },
    },
  ],
};
