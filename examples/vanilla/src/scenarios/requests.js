// What the page asks for and does not get, or gets late.
import { event, kind, metric } from "./expect.js";

export const requests = {
  id: "requests",
  title: "Requests and files",
  note: "What did not load, what was refused, what took too long.",
  scenarios: [
    {
      id: "failed",
      title: "Request that fails",
      note: "the server answers 500",
      expects: event("500"),
      run: (_condev, say) => void fetch("api/fails?card=4111111111111111").then((answer) => say(`answered ${answer.status}`)),
    },
    {
      id: "unreachable",
      title: "Server that is not there",
      note: "the request never gets an answer",
      expects: (item) => item.type === "event" && /127\.0\.0\.1:9\b/.test(item.request?.url ?? ""),
      run: () => void fetch("http://127.0.0.1:9/stock").catch(() => undefined),
    },
    {
      id: "slowRequest",
      title: "Slow request",
      note: "three seconds of waiting",
      expects: metric("request_slow"),
      run: (_condev, say) => {
        say("three seconds …");
        fetch("api/slow?seconds=3");
      },
    },
    {
      id: "picture",
      title: "Picture that is missing",
      note: "a resource error, with the element",
      expects: (item) => kind("resource_error")(item) && JSON.stringify(item).includes("no-such-picture"),
      run: () => add("img", { src: "no-such-picture.png", alt: "", className: "gone" }),
    },
    {
      id: "script",
      title: "Script that is missing",
      note: "an old chunk after a release",
      expects: (item) => kind("resource_error")(item) && JSON.stringify(item).includes("chunk-417"),
      run: () => add("script", { src: "assets/chunk-417.js" }),
    },
    {
      id: "slowPicture",
      title: "Slow picture",
      note: "a resource that takes three seconds",
      expects: metric("resource_slow"),
      run: (_condev, say) => {
        say("three seconds …");
        add("img", { src: `api/slow.svg?seconds=3&t=${Date.now()}`, alt: "", className: "gone" });
      },
    },
    {
      id: "csp",
      title: "Content that policy forbids",
      note: "a picture from a foreign host",
      expects: kind("csp"),
      run: () => add("img", { src: "https://pictures.example.org/kettle.png", alt: "", className: "gone" }),
    },
  ],
};

function add(name, properties) {
  document.body.append(Object.assign(document.createElement(name), properties));
}
