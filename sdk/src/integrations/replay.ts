/** Whether this visit is recorded, which is drawn once for all its pages; the recorder itself is a chunk (src/replay). */
import type { Cleanup, Client, Integration } from "../types";

/** Two numbers from the visit's id, each 0 ≤ x < 1: each page of it draws the same. */
function modeOf({ options, settings, session, sampleRate }: Client): "session" | "buffer" | undefined {
  const rates = settings.sampleRates;
  // The page says whether; where it says nothing, the server does by naming a rate. Either can say no.
  const wanted = options.replay ?? Boolean(settings.replay && (rates?.replay ?? rates?.replay_on_error));
  if (!wanted || settings.replay === false) return undefined;
  const draw = (from: number): number => parseInt(session.id.slice(from, from + 8), 16) / 2 ** 32;
  return draw(0) < sampleRate("replay") ? "session" : draw(8) < sampleRate("replay_on_error") ? "buffer" : undefined;
}

/** Set up when the page has settled (idle.ts): recording must not make it come later. */
export const replay: Integration = {
  name: "replay",
  setup(client) {
    let stop: Cleanup | undefined;
    let ended = false;
    const begin = client.guard(async () => {
      const mode = modeOf(client);
      if (!mode || stop || ended) return;
      const { startReplay } = await client.load("replay");
      if (!ended && !stop && modeOf(client)) stop = startReplay(client, mode);
    });
    void begin();
    client.on("settings", () => {
      if (modeOf(client)) void begin();
      else stop = void stop?.();
    });
    return () => {
      ended = true;
      stop?.();
    };
  },
};

/** Record from now on, whatever was drawn; false when the server has switched replays off for the project. */
export async function startReplay(client: Client): Promise<boolean> {
  if (client.settings.replay === false) return false;
  const chunk = await client.guard(() => client.load("replay"))();
  if (!chunk) return false;
  const stop = chunk.startReplay(client, "session");
  client.on("close", stop);
  client.on("settings", ({ replay: on }) => {
    if (on === false) stop();
  });
  return true;
}
