// How the page feels: it stays white, jumps, hangs.
import { metric, type } from "./expect.js";

export const page = {
  id: "page",
  title: "The page itself",
  note: "White screens, web vitals, long tasks. Vitals have their last value when the page is left or hidden.",
  scenarios: [
    {
      id: "white",
      title: "White screen",
      note: "opens a page whose application never starts",
      run: () => location.assign(`blank.html${location.search}`),
    },
    {
      id: "shift",
      title: "Layout shift",
      note: "a banner pushes everything down",
      expects: metric("CLS"),
      run: (_condev, say) => {
        const banner = Object.assign(document.createElement("p"), { className: "banner", textContent: "Free delivery this week!" });
        // Later than half a second after the click: sooner counts as expected, and as no shift.
        setTimeout(() => document.body.prepend(banner), 700);
        setTimeout(() => banner.remove(), 3000);
        say("sent when you leave or hide the page");
      },
    },
    {
      id: "hang",
      title: "Slow interaction",
      note: "the click is answered after 400 ms",
      expects: metric("INP"),
      run: (_condev, say) => {
        block(400);
        say("sent when you leave or hide the page");
      },
    },
    {
      id: "longTask",
      title: "Long task",
      note: "600 ms of computing while nobody asked",
      expects: metric("long_task", "long_frame"),
      run: (_condev, say) => {
        setTimeout(() => block(600), 100);
        say("sent when you leave or hide the page");
      },
    },
    {
      id: "mark",
      title: "A measure of your own",
      note: "performance.measure of the checkout",
      expects: metric("checkout"),
      run: () => {
        performance.mark("checkout-start");
        setTimeout(() => performance.measure("checkout", "checkout-start"), 120);
      },
    },
    {
      id: "route",
      title: "Go to another route",
      note: "a page view of its own, without a reload",
      expects: type("page_view"),
      run: () => {
        history.pushState({}, "", `#/product/${Math.ceil(Math.random() * 999)}`);
      },
    },
  ],
};

function block(milliseconds) {
  const end = performance.now() + milliseconds;
  while (performance.now() < end);
}
