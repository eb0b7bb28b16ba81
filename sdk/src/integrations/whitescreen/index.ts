/**
 * White screens: a page that should show something and does not. Looks after load, on a route change, after an error,
 * when something lost all of its children and when the page comes back into view; looks again before it reports;
 * reports once per page view. No permanent timer: a round of looks ends at the first one that sees content.
 */
import { all, listen } from "../../patch";
import { selectorOf } from "../../selector";
import type { Client, Data, Integration, WhiteScreenOptions } from "../../types";
import { type Look, look } from "./look";

export type { Look, Point } from "./look";

const LOADING_FACTOR = 4; // of retries: a page that says it is loading is reported 17 s after it loaded
const KEPT = 5; // errors and failed resources that go into the report

let check: (() => Look | undefined) | undefined;

/** What a look sees now. If it is white, and stays so, it is reported. Undefined when the SDK does not watch. */
export const checkWhiteScreen = (): Look | undefined => check?.();

export const whiteScreen: Integration = { name: "whiteScreen", setup };

function setup(client: Client): () => void {
  const options = Object(client.options.whiteScreen) as WhiteScreenOptions;
  const {
    delay = 1000, // ms after what began the round: frameworks have drawn by then
    interval = 2000, // ms between looks
    retries = 2, // with these, an empty page is reported 5 s after it loaded
  } = options;
  const errors: Data[] = [];
  const failed: Data[] = [];
  // Of the round that is on, or has reported: load, route, error, removal, show or manual. One at a time, one report a view.
  let trigger = "";
  let looks = 0;
  let timer: ReturnType<typeof setTimeout>;
  let observer: MutationObserver | undefined;

  const begin = (why: string): void => {
    if (trigger) return;
    trigger = why;
    looks = 0;
    timer = setTimeout(step, delay);
  };
  const end = (): void => {
    clearTimeout(timer);
    trigger = "";
  };
  const step = client.guard((last?: boolean) => {
    // In the background, on paper, or in a frame without a size, nothing needs to be seen.
    const seen = last || (!document.hidden && !matchMedia("print").matches && innerWidth) ? look(options) : undefined;
    if (!seen?.reason) return end();
    const { root } = seen;
    looks += 1;
    if (!last && looks <= retries * (seen.waiting ? LOADING_FACTOR : 1)) {
      timer = setTimeout(step, interval);
      return;
    }
    client.captureEvent({
      kind: "white_screen",
      level: "error",
      message: `White screen: ${seen.reason}`,
      white_screen: {
        ...seen,
        root: root && selectorOf(root),
        trigger,
        looks,
        dom: {
          root_children: root?.childElementCount,
          ready_state: document.readyState,
          elements: document.querySelectorAll("*").length,
          body: [...document.body.children].slice(0, 10).map((child) => `${selectorOf(child)}: ${child.childElementCount}`),
        },
        last_errors: errors,
        failed_resources: [...failed, ...(client.refused?.() || [])].slice(0, KEPT),
      },
    });
    looks = 0;
  });
  // Who sees a white page does not stay for the last look: with an error beside it, two looks are enough.
  const left = (): unknown => trigger && looks && (errors[0] || failed[0]) && step(true);
  const keep = (list: Data[], item: Data): void => {
    if (list.push(item) > KEPT) list.shift();
    begin("error");
  };
  const loaded = (): void => {
    begin("load");
    // Not made before: while a page is read, much of it changes, and a start is dear.
    observer ||= new MutationObserver(
      client.guard((records: MutationRecord[]) => {
        if (!trigger && records.some(({ removedNodes, target }) => removedNodes[0] && !target.firstChild)) begin("removal");
      }),
    );
    observer.observe(document, { childList: true, subtree: true });
  };
  if (document.readyState === "complete") loaded();
  check = client.guard(() => {
    const seen = look(options);
    if (seen.reason) begin("manual");
    return seen;
  });
  return all(
    listen(window, "load", loaded),
    client.on("event", ({ id, kind, exceptions, contexts, message }) => {
      const { type, value } = exceptions?.at(-1) || {};
      if (kind === "error") keep(errors, { id, type, value });
      if (/^(res|csp)/.test(kind)) keep(failed, contexts?.["resource"] || { url: message });
    }),
    client.on("leave", left),
    client.on("hide", left),
    client.on("show", () => begin("show")),
    client.on("pageview", () => {
      end();
      begin("route");
    }),
    () => {
      end();
      observer?.disconnect();
      check = undefined;
    },
  );
}
