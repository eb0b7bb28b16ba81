/**
 * Records what a visitor sees. "session": everything, in segments as they fill. "buffer": the last minute in memory,
 * until an error makes it worth sending; then on until the page has settled, and back to the buffer.
 */
import { newId } from "../ids";
import type { Cleanup, Client, EventItem } from "../types";
import { createBuffer } from "./buffer";
import { record, type Recorder } from "./record";
import { claim, leave, type Kept } from "./resume";
import { openSink, type Sink } from "./sink";
import { watchSlow } from "./slow";

const SETTLED = 5_000; // ms without anything happening after an error
const AFTER_ERROR = 60_000; // ms at most
const CHECK = 1_000;
const MAX_EVENT = 2_000_000; // characters of one rrweb event: a page that large is too dear to record
const SESSION_PICTURE = 300_000; // ms between whole pictures: the player finds a place by them, and a lost segment costs no more

let active: { client: Client; stop: Cleanup; promote(): void } | undefined;

export function startReplay(client: Client, mode: "session" | "buffer"): Cleanup {
  if (active && active.client !== client) active.stop();
  if (active) {
    if (mode === "session") active.promote();
    return active.stop;
  }
  const options = typeof client.options.replay === "object" ? client.options.replay : {};
  const ends: Cleanup[] = [];
  const buffer = createBuffer();
  let recorder: Recorder | undefined;
  let sink: Sink | undefined;
  let visit = client.session.id;
  let lastEvent = 0;
  let lastPicture = 0;
  let settling: ReturnType<typeof setInterval> | undefined;

  const stop = client.guard((): void => {
    if (!active) return;
    active = undefined;
    clearInterval(settling);
    for (const end of ends) end();
    recorder?.stop();
    sink?.end();
    sink = client.replayId = undefined;
  });

  function giveUp(reason: string): void {
    client.log("replay stops", reason);
    client.drop("page_slow", "replay");
    stop();
  }

  /** rrweb's events come here, as they are to be sent. */
  const take = client.guard((json: string, type: number, at: number): void => {
    if (!active) return;
    if (json.length > MAX_EVENT) return giveUp("the page is too large");
    lastEvent = at;
    if (type === 4) lastPicture = at;
    if (sink) {
      if (!sink.add(json, at)) return stop();
      if (at - lastPicture > SESSION_PICTURE) recorder?.picture();
    } else {
      const wish = buffer.add(json, type === 4, at);
      if (wish === "picture") recorder?.picture();
      else if (wish === "too much") giveUp("the page changes too much");
    }
  });

  /** Whichever page of the tab comes next goes on from here. */
  function stay(): void {
    if (sink && mode === "session") leave(client, visit, sink);
  }

  function open(type: "session" | "buffer", kept?: Kept): void {
    sink = openSink(client, options, type, kept || { id: newId(), next: 0, started: client.now(), size: 0 }, () => {
      if (document.visibilityState === "hidden") stay();
    });
    client.replayId = sink.id;
    visit = client.session.id;
  }

  /** What the buffer holds becomes the beginning of a replay. */
  function keepBuffer(type: "session" | "buffer"): void {
    open(type);
    for (const { json, at } of buffer.take()) sink?.add(json, at);
  }

  function onEvent(event: EventItem): void {
    const wrong = event.level === "error" || event.level === "fatal" || event.kind === "white_screen";
    const first = !sink && wrong && mode === "buffer" && !buffer.isEmpty();
    if (first) {
      keepBuffer("buffer");
      const began = client.now();
      let until = began + AFTER_ERROR;
      settling = setInterval(
        client.guard(() => {
          const now = client.now();
          if (now < until && now - Math.max(lastEvent, began) < SETTLED) return;
          until = 0;
          clearInterval(settling);
          sink?.end();
          sink = client.replayId = undefined;
          recorder?.picture(); // what the buffer begins with
        }),
        CHECK,
      );
    }
    if (!sink) return;
    event.replay_id = sink.id;
    if (wrong && event.id) {
      sink.error(event.id);
      recorder?.mark("error", { id: event.id });
    }
    if (first) sink.flush(); // what led to it is safe, whatever it does to the page
  }

  ends.push(
    client.on("event", onEvent),
    client.on("pageview", ({ url, route }) => {
      sink?.page(url);
      recorder?.mark("page", { url, route });
    }),
    client.on("hide", () => {
      sink?.flush(true);
      stay();
    }),
    client.on("show", () => {
      if (!sink || mode !== "session") return;
      // A page that comes out of the browser's cache: another one may have gone on with this replay, or begun one.
      const kept = claim(client);
      const { id, next } = sink.kept();
      if (visit === client.session.id && (!kept || (kept.id === id && kept.next === next))) return;
      if (kept?.id === id) sink.resume(kept);
      else {
        sink.end();
        open("session", kept);
      }
      recorder?.picture();
    }),
    client.on("settings", ({ replay }) => {
      if (replay !== false) return;
      sink?.discard(); // switched off: not even what was gathered before that was known
      stop();
    }),
    client.on("close", stop),
    watchSlow(giveUp),
  );
  active = {
    client,
    stop: () => void stop(),
    promote: client.guard(() => {
      if (mode === "session") return;
      mode = "session";
      clearInterval(settling);
      if (!sink) keepBuffer("session");
    }),
  };
  if (mode === "session") open("session", claim(client));
  const { stop: end } = active;
  recorder = record(client, options, take, giveUp);
  if (!active) recorder.stop(); // its first picture already took too long
  return end;
}
