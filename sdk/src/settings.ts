/** What the server sets for the project, over the page's options: asked for once, kept for a while, per project. */
import { keep, recall } from "./storage";
import type { Settings } from "./types";

const MAX_AGE = 300_000; // as the server's own Cache-Control

interface Kept {
  at: number;
  settings: Settings;
}

/** The wire's names. */
interface Answer {
  data?: { sdk?: { replay?: boolean; sample_rates?: Settings["sampleRates"]; ignoreErrors?: string[] } };
}

/** What was set the last time. It holds until the server says otherwise: sampling is decided before it can. */
export const knownSettings = (key: string): Settings => recall<Kept>(key, "settings")?.settings || {};

/** What is set now; undefined when what is known is fresh, or the server gives no answer. */
export async function fetchSettings(base: string, key: string, now: number): Promise<Settings | undefined> {
  const age = now - (recall<Kept>(key, "settings")?.at || 0);
  if (age >= 0 && age < MAX_AGE) return undefined;
  const answer = await fetch(`${base}/app-config?appId=${key}&v=2`, { credentials: "omit" }).catch(() => undefined); // no network
  if (!answer?.ok) return undefined;
  const { data } = (await answer.json()) as Answer;
  const { sample_rates: sampleRates, ...others } = data?.sdk || {};
  const settings: Settings = { ...others, ...(sampleRates && { sampleRates }) };
  keep(key, "settings", { at: now, settings });
  return settings;
}
