/** What a page calls: the same for each build. Everything before `init`, and without a page, does nothing. */
import { createClient, type Build } from "./client";
import { getClient, setClient } from "./current";
import { startSpan as begin } from "./tracing";
import type { ActiveSpan, Breadcrumb, Client, Data, EventItem, Hint, Level, Options, Primitive, SpanOptions, User } from "./types";

/** Makes the page's one client. A second call gives the first one's, for pages that run their code twice. */
export function initWith(options: Options, build: Build): Client {
  const present = getClient();
  if (present) return present;
  const client = createClient(options, build);
  setClient(client);
  return client;
}

export const captureException = (error: unknown, hint?: Hint): string => getClient()?.captureException(error, hint) || "";
export const captureMessage = (message: string, level?: Level, hint?: Hint): string => getClient()?.captureMessage(message, level, hint) || "";
export const captureEvent = (event: Partial<EventItem>, hint?: Hint): string => getClient()?.captureEvent(event, hint) || "";
export const addBreadcrumb = (breadcrumb: Breadcrumb): void => getClient()?.addBreadcrumb(breadcrumb);
export const setUser = (user: User | undefined): void => getClient()?.setUser(user);
export const setTag = (name: string, value: Primitive): void => getClient()?.setTag(name, value);
export const setContext = (name: string, context: Data | undefined): void => getClient()?.setContext(name, context);
export const setRoute = (route: string): void => getClient()?.setRoute(route);
export const enable = (): void => getClient()?.enable();
export const disable = (): void => getClient()?.disable();
export const flush = async (timeout?: number): Promise<boolean> => (await getClient()?.flush(timeout)) ?? true;

export const startSpan = (options: SpanOptions): ActiveSpan => begin(getClient(), options);

export async function close(timeout?: number): Promise<boolean> {
  const client = getClient();
  setClient(undefined);
  return (await client?.close(timeout)) ?? true;
}
