/**
 * The chunk that is loaded when the page has settled: what keeps envelopes, the server's settings, measurements and the
 * replay's beginning. Everything here may come late, or never, without anything captured being lost before.
 */
import type { Dsn } from "./dsn";
import { replay } from "./integrations/replay";
import { consoleTrail } from "./integrations/trail";
import { keepFor } from "./offline";
import { fetchSettings } from "./settings";
import type { Cleanup, Client, Data, Integration, Keeper, Options, Sender, Settings } from "./types";
import { watchWork } from "./vitals/work";

export { startReplay } from "./integrations/replay";

/** Of the chunks that come after this one, in the script build. */
export const integrity = __CHUNKS__;

type Begun = Keeper & { stop: Cleanup };
const begun = new WeakMap<Sender, Begun>();

/** Once for each sender: a page that loads for long begins before it has loaded, and asks again when it has. */
export function begin(client: Client, dsn: Dsn, sender: Sender, settle: (settings: Settings) => void): Begun {
  const known = begun.get(sender) || start(client, dsn, sender, settle);
  begun.set(sender, known);
  return known;
}

function start(client: Client, { base, key }: Dsn, sender: Sender, settle: (settings: Settings) => void): Begun {
  const { options, guard } = client;
  const keeper = keepFor(client, sender, () => settle({ ...client.settings, replay: false }));
  // Intl knows it everywhere, and takes 20 ms to begin, which a phone feels.
  client.timezone = (globalThis as { Temporal?: { Now: { timeZoneId(): string } } }).Temporal?.Now.timeZoneId();
  client.refused = refused;
  const { errorsOnly, performance: measures, replay: records } = options as Options & { errorsOnly?: boolean }; // by the build of that name
  const parts = errorsOnly ? [] : [consoleTrail, measures !== false && performance, records !== false && replay].filter((one) => one !== false);
  const ends = parts.map((part) => guard(() => part.setup(client))());
  void guard(async () => {
    const found = options.settings !== false && (await fetchSettings(base, key, client.now()));
    if (found) settle(found);
  })();
  return { ...keeper, stop: () => ends.forEach((end) => end?.()) };
}

/** By origin and path: cleanUrl would be a second copy of it in this chunk. */
const refused = (): Data[] =>
  (window.performance.getEntriesByType("resource") as PerformanceResourceTiming[]).flatMap(({ name, responseStatus: status }) =>
    status >= 400 ? { url: name.replace(/[?#][^]*/, "").replace(/\/\/[^/]*@/, "//"), status } : [],
  );

const performance: Integration = {
  name: "performance",
  setup(client) {
    const ends: Cleanup[] = [];
    let over = false;
    void client.guard(async () => {
      const { startVitals } = await client.load("vitals");
      if (!over) ends.push(startVitals(client));
    })();
    ends.push(watchWork(client));
    return () => {
      over = true;
      ends.forEach((end) => end());
    };
  },
};
