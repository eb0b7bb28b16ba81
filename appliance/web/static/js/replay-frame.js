// Plays a recording. Runs in the frame of a replay's page (replays/frame.html), which may fetch nothing: the page
// around it hands the segments in, and says what to do; this says where it is.
import { Replayer } from "../vendor/replay.js";
import { clean } from "./replay-clean.js";

const EVERY = 100; // ms between reports of the time while it plays
const PAUSE = 4_000; // ms without anything happening are skipped
const BEFORE = new Set(["hello", "segment", "start"]); // what may come before there is a player

let events = [];
let replayer = null;
let playing = false;
let length = 0;
let size = { width: 1, height: 1 };

const tell = (message) => parent.postMessage(message, location.origin);
const now = () => Math.min(Math.max(0, replayer.getCurrentTime()), length);

function fit() {
  const wrapper = document.querySelector(".replayer-wrapper");
  if (!wrapper) return;
  const scale = Math.min(innerWidth / size.width, innerHeight / size.height, 1);
  wrapper.style.transform = `scale(${scale})`;
  wrapper.style.left = `${(innerWidth - size.width * scale) / 2}px`;
  wrapper.style.top = `${(innerHeight - size.height * scale) / 2}px`;
}

function state(on) {
  playing = on;
  tell({ type: "state", playing, at: now() });
}

const DO = {
  hello() { tell({ type: "ready" }); },
  segment({ text }) {
    const found = JSON.parse(text);
    if (Array.isArray(found)) events.push(...found.slice(0, 200_000));
  },
  start({ at, speed, skip }) {
    const made = clean(events);
    events = [];
    const picture = made.events.findIndex((event) => event.type === 2);
    if (picture < 0 || made.events.length < 2) throw new Error("Its first part, with the picture of the page, is not here.");
    replayer = new Replayer(made.events, {
      root: document.body, speed, skipInactive: skip, inactivePeriodThreshold: PAUSE, showWarning: false, showDebug: false,
      triggerFocus: false, pauseAnimation: true, UNSAFE_replayCanvas: false, mouseTail: { strokeStyle: "#6a5acd" },
      insertStyleRules: ["img, video, canvas, iframe { background-color: rgb(128 128 128 / .16) }"],
    });
    // One step that cannot be played costs no other.
    const apply = replayer.applyIncremental;
    replayer.applyIncremental = (...step) => {
      try {
        apply.apply(replayer, step);
      } catch (error) {
        console.debug("a step of the replay cannot be played", error);
      }
    };
    // Nothing of it answers to the keyboard or to the pointer.
    replayer.iframe.tabIndex = -1;
    replayer.iframe.setAttribute("title", "The recorded page");
    replayer.on("resize", (found) => { size = found; fit(); });
    replayer.on("finish", () => state(false));
    length = replayer.getMetaData().totalTime;
    replayer.pause(Math.min(at, length));
    tell({ type: "started", length, at: now(), pages: made.pages });
  },
  play({ at }) {
    replayer.play(at >= length ? 0 : at);
    state(true);
  },
  pause() {
    replayer.pause();
    state(false);
  },
  seek({ at }) {
    const to = Math.min(Math.max(0, at), length);
    if (playing) replayer.play(to);
    else replayer.pause(to);
    tell({ type: "time", at: to });
  },
  speed({ speed }) { replayer.setConfig({ speed }); },
  skip({ skip }) { replayer.setConfig({ skipInactive: skip }); },
};

addEventListener("message", (event) => {
  if (event.source !== parent || event.origin !== location.origin || !Object.hasOwn(DO, event.data?.type)) return;
  if (!replayer && !BEFORE.has(event.data.type)) return;
  try {
    DO[event.data.type](event.data);
  } catch (error) {
    tell({ type: "failed", reason: String(error?.message ?? error).slice(0, 300) });
  }
});
addEventListener("resize", fit);
setInterval(() => { if (playing) tell({ type: "time", at: now() }); }, EVERY);
tell({ type: "ready" });
