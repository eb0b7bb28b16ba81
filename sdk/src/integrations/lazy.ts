/** What is loaded when the page is idle: measurements, and the replay where it is asked for. */
import { drawn } from "../client";
import { getClient } from "../current";
import { all } from "../patch";
import type { Cleanup, Client, Integration } from "../types";

const IDLE_MS = 500; // after load: the first seconds belong to the page

function whenIdle(client: Client, work: () => Promise<void | Cleanup>): Cleanup {
  let end: void | Cleanup;
  let over = false;
  const begin = client.guard(async (): Promise<void> => {
    if (over) return;
    end = await work();
    if (over) end?.();
  });
  const wait = (): unknown => setTimeout(() => (typeof requestIdleCallback === "function" ? requestIdleCallback(() => void begin()) : begin()), IDLE_MS);
  if (document.readyState === "complete") wait();
  else addEventListener("load", wait, { once: true });
  return () => {
    over = true;
    removeEventListener("load", wait);
    end?.();
  };
}

export const performanceChunk: Integration = {
  name: "performance",
  setup: (client) =>
    whenIdle(client, async () => {
      const { startVitals } = await client.load("vitals");
      const end = startVitals(client); // first: its values are what people look at
      const { watchWork } = await client.load("work");
      return all(end, watchWork(client));
    }),
};

/** Recorded from the start, by the share of sessions, or kept ready for an error; the server's word stands above the page's. */
export const replayChunk: Integration = {
  name: "replay",
  setup(client) {
    let end: Promise<Cleanup> | undefined;
    const stop = (): void => {
      void client.guard(async () => (await end)?.())();
      end = undefined;
    };
    const decide = (): void => {
      const { options, settings } = client;
      const draw = drawn(client.session.id); // the same on each page of a session
      const mode = draw < client.sampleRate("replay") ? "session" : draw < client.sampleRate("replay_on_error") ? "buffer" : undefined;
      if (options.replay === false || !(settings.replay ?? options.replay) || !mode) stop();
      else end ||= client.load("replay").then(({ startReplay }) => startReplay(client, mode));
    };
    const off = client.on("settings", decide);
    const ended = whenIdle(client, async () => {
      decide();
      await end;
    });
    return all(off, ended, stop);
  },
};

/** Records this page from now on, whatever the sampling says. */
export async function startReplay(): Promise<void> {
  const client = getClient();
  await client?.guard(async () => void (await client.load("replay")).startReplay(client, "session"))();
}
