/**
 * White screens: a page that should show something and does not. Looks after load, on a route change, after an error
 * and when something lost all of its children; looks again before it reports; reports once per page view.
 *
 * No permanent timer: a round of looks ends at the first one that sees content.
 */
import type { Client, Data, EventItem, Integration, WhiteScreenOptions } from "../../types";
import { type Look, look, nameOf } from "./look";

export type { Look, Point } from "./look";

/** Why a round of looks began. */
type Trigger = "load" | "route" | "error" | "removal" | "manual";

const DELAY_MS = 1000; // after the trigger: frameworks have drawn by then
const INTERVAL_MS = 2000;
const RETRIES = 2; // with these, an empty page is reported 5 s after it loaded …
const LOADING_FACTOR = 4; // … and one that says it is loading after 17
const KEPT = 5; // errors and failed resources that go into the report

interface Watch {
  client: Client;
  check(): Promise<Look>;
}

let watch: Watch | undefined;

/** Look now, and report if the page is white at a second look too. Undefined when the SDK does not watch. */
export async function checkWhiteScreen(client?: Client): Promise<Look | undefined> {
  return client && client !== watch?.client ? undefined : watch?.check();
}

export function whiteScreen(): Integration {
  return { name: "whiteScreen", setup };
}

function setup(client: Client): (() => void) | undefined {
  const { whiteScreen: option } = client.options;
  if (option === false) return;
  const options: WhiteScreenOptions = typeof option === "object" ? option : {};
  const { delay = DELAY_MS, interval = INTERVAL_MS, retries = RETRIES } = options;
  let trigger: Trigger | undefined; // of the round that is on
  let timer: ReturnType<typeof setTimeout> | undefined;
  let looks = 0;
  let reported = false;
  let errors: Data[] = [];
  let failed: Data[] = [];

  const begin = (why: Trigger): void => {
    if (reported || trigger) return;
    trigger = why;
    looks = 0;
    timer = setTimeout(step, delay);
  };
  const end = (): void => {
    clearTimeout(timer);
    trigger = undefined;
  };
  const report = (seen: Look, why: Trigger, more?: Data): void => {
    if (reported) return;
    reported = true;
    client.captureEvent({
      kind: "white_screen",
      level: "error",
      message: `White screen: ${seen.reason}`,
      white_screen: {
        reason: seen.reason,
        trigger: why,
        looks,
        points: seen.points,
        empty: seen.points.filter((point) => point.found === "empty").length,
        root: seen.root ? nameOf(seen.root) : null,
        dom: summary(seen.root),
        last_errors: errors,
        failed_resources: [...failed, ...failedEntries()].slice(0, KEPT),
        ...more,
      },
    });
  };
  const step = client.guard(() => {
    if (!drawn()) return; // `show` goes on with the round
    const seen = look(options);
    if (!seen.white) return end();
    looks += 1;
    if (looks <= retries * (/skel|load/.test(seen.reason) ? LOADING_FACTOR : 1)) timer = setTimeout(step, interval);
    else {
      report(seen, trigger ?? "load");
      end();
    }
  });
  const left = (): void => {
    // Who sees a white page does not stay for the last look: with an error beside it, two looks are enough.
    if (!trigger || !looks || !(errors.length || failed.length)) return;
    const seen = look(options);
    if (seen.white) report(seen, trigger, { left: true });
    end();
  };
  const noteEvent = (event: EventItem): void => {
    if (event.kind === "error") {
      const thrown = event.exceptions?.at(-1);
      errors = [...errors, { id: event.id, type: thrown?.type, value: thrown?.value }].slice(-KEPT);
    } else if (event.kind === "resource_error") {
      failed = [...failed, event.contexts?.resource ?? { url: event.message }].slice(-KEPT);
    } else return;
    begin("error");
  };
  const noteRemovals = (records: MutationRecord[]): void => {
    if (!trigger && records.some((record) => record.removedNodes.length && !record.target.firstChild)) begin("removal");
  };

  const observer = new MutationObserver(client.guard(noteRemovals));
  observer.observe(document, { childList: true, subtree: true });
  const loaded = client.guard(() => begin("load"));
  if (document.readyState === "complete") loaded();
  else addEventListener("load", loaded, { once: true });
  const off = [
    client.on("event", noteEvent),
    client.on("leave", left),
    client.on("pageview", () => {
      reported = false;
      end();
      begin("route");
    }),
    client.on("hide", left),
    client.on("show", () => {
      if (trigger) {
        clearTimeout(timer);
        timer = setTimeout(step, delay);
      }
    }),
  ];
  watch = {
    client,
    async check() {
      let seen = look(options);
      if (seen.white) {
        await new Promise((resolve) => setTimeout(resolve, interval));
        seen = look(options);
        if (seen.white && drawn()) report(seen, "manual");
      }
      return seen;
    },
  };
  return () => {
    end();
    observer.disconnect();
    removeEventListener("load", loaded);
    for (const stop of off) stop();
    watch = undefined;
  };
}

/** Whether the page is on a screen: not in the background, on paper, prerendered, or in a frame without a size. */
function drawn(): boolean {
  return document.visibilityState === "visible" && !matchMedia("print").matches && innerWidth * innerHeight > 0;
}

function summary(root: Element | null): Data {
  const { body } = document;
  return {
    ready_state: document.readyState,
    title: document.title.slice(0, 100),
    elements: document.getElementsByTagName("*").length,
    root_children: root?.childElementCount ?? null,
    body: [...body.children].slice(0, 10).map((child) => `${nameOf(child)} (${child.childElementCount})`),
    text: body.textContent.length,
  };
}

/** Scripts and style sheets that failed, perhaps before the SDK was there. */
function failedEntries(): Data[] {
  return (performance.getEntriesByType("resource") as PerformanceResourceTiming[])
    .filter((entry) => entry.responseStatus >= 400 && /script|link/.test(entry.initiatorType))
    .map((entry) => ({ url: entry.name, status: entry.responseStatus }));
}
