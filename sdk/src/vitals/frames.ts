/**
 * How smoothly the page moves, only when asked: for a second after somebody scrolls, presses or types, and once after
 * load, the frames are counted. Between these windows nothing runs, and a hidden page draws no frames to count.
 */
import { all, listen } from "../patch";
import type { Cleanup, Client, Data } from "../types";
import { rounded } from "./words";

const WINDOW_MS = 1000;
const LOW_FPS = 40; // half the speed of the usual screen is low; a little less than all of it is not
const JANK_MS = 100; // a stop that a person notices
const CAUSES = ["scroll", "pointerdown", "keydown", "wheel"];

export function watchFrames(client: Client): Cleanup {
  const report = (metric: string, value: number, unit: string, attributes: Data): void =>
    client.capture({ type: "measurement", metric, value: rounded(value), unit, attributes });
  let frame = 0; // the one that is asked for
  let started = 0;
  let before = 0;
  let drawn = 0;
  let windows = 0;
  let slow = 0; // windows with less than LOW_FPS
  let janks = 0;
  let longest = 0;
  let lowest = Infinity;

  const step = client.guard((now: number) => {
    frame = 0;
    started ||= now;
    if (before) {
      drawn += 1;
      longest = Math.max(longest, now - before);
      if (now - before >= JANK_MS) janks += 1;
    }
    before = now;
    if (now - started < WINDOW_MS) {
      frame = requestAnimationFrame(step);
      return;
    }
    const fps = (drawn * 1000) / (now - started);
    windows += 1;
    if (fps < LOW_FPS) slow += 1;
    lowest = Math.min(lowest, fps);
  });
  const sample = (): void => {
    if (frame) return;
    started = before = drawn = 0;
    frame = requestAnimationFrame(step);
  };
  const deliver = (): void => {
    cancelAnimationFrame(frame);
    frame = 0;
    if (slow) report("low_fps", lowest, "fps", { windows, slow, threshold: LOW_FPS });
    if (janks) report("jank", longest, "millisecond", { windows, count: janks, threshold: JANK_MS });
    windows = slow = janks = longest = 0;
    lowest = Infinity;
  };

  sample();
  return all(
    ...CAUSES.map((cause) => listen(window, cause, sample)),
    client.on("leave", deliver),
    client.on("hide", deliver),
    deliver,
  );
}
