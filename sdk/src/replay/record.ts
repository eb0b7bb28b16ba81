/** rrweb, told what to leave out; its events leave this module as the text that is sent. */
import { record as rrweb } from "@rrweb/record";
import type { Cleanup, Client, ReplayOptions } from "../types";
import { createMasks } from "./masks";
import { type Found, scrub } from "./scrub";

const TOO_LONG = 500; // ms of one picture of the page: whoever uses it feels that
const MOVES = 100; // ms between places of the pointer
const SCROLLS = 150;

export interface Recorder {
  /** Take a whole picture of the page, soon. */
  picture(): void;
  /** Write something of ours into the recording. */
  mark(tag: string, payload: object): void;
  stop: Cleanup;
}

type Take = (json: string, type: number, at: number) => void;

export function record(client: Client, options: ReplayOptions, take: Take, giveUp: (reason: string) => void): Recorder {
  const masks = createMasks(options, client.log);
  let due: ReturnType<typeof setTimeout> | undefined;
  let began = false;
  let stopped = false;

  function timed(work: () => void): void {
    const start = performance.now();
    work();
    if (performance.now() - start > TOO_LONG && !stopped) giveUp("a picture of the page takes too long");
  }

  const end = client.guard(() => {
    let stop: Cleanup | undefined;
    timed(() => {
      stop = rrweb<Found>({
        emit: (event) => {
          if (stopped) return;
          const found = event as unknown as Found;
          began = true;
          scrub(found, masks, (id) => rrweb.mirror.getNode(id));
          take(JSON.stringify(found), found.type, found.timestamp);
        },
        // All of it comes to scrub(), too; here it is what keeps rrweb from holding on to more than it needs.
        maskInputOptions: { input: true, textarea: true, select: true } as object,
        maskInputFn: (text, element) => masks.value(text, element),
        maskTextSelector: "*",
        maskTextFn: (text, element) => masks.text(text, element || undefined),
        blockSelector: masks.blockSelector,
        ignoreSelector: masks.ignoreSelector,
        slimDOMOptions: "all",
        // A picture of it with each picture of the page: to film it would take a worker, which many policies forbid.
        recordCanvas: options.canvas === true,
        collectFonts: options.fonts === true,
        sampling: { mousemove: MOVES, scroll: SCROLLS, input: "last", media: 800, canvas: "none" as never },
        // A failure of the recorder is its own, not the page's.
        errorHandler: (error) => {
          client.guard(() => {
            throw error;
          })();
          return true;
        },
      });
    });
    return stop;
  })();

  return {
    picture() {
      // Not within what is being recorded just now.
      due ??= setTimeout(
        client.guard(() => {
          due = undefined;
          if (began && !stopped) timed(() => rrweb.takeFullSnapshot(true));
        }),
      );
    },
    mark(tag, payload) {
      if (began && !stopped) rrweb.addCustomEvent(tag, payload);
    },
    stop() {
      stopped = true;
      clearTimeout(due);
      end?.();
    },
  };
}
