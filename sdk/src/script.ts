/**
 * The script builds: `<script src="…/sdk.js" data-dsn="…" defer></script>`. Options are attributes of the element, the
 * API is `window.condev`; calls that a page made before this ran (`(window.condev ||= []).push(["setTag", "a", "b"])`) are made now.
 */
import { createClient, type Build } from "./client";
import { getClient, setClient } from "./current";
import { guardWith } from "./guard";
import type { Chunks, Client, Options } from "./types";

type Call = [name: string, ...args: unknown[]];
type Exposed = Record<string, ((...args: unknown[]) => unknown) | undefined>;
/** `condevChunks` is where a chunk leaves its module. */
type Global = { condev?: unknown; condevChunks?: Partial<Chunks> };

const { src = "", nonce = "", dataset = {} } = (document.currentScript || {}) as Partial<HTMLScriptElement>;
const global = globalThis as Global;

/** `window.condev` is the client, with what is added here; without `data-dsn` or `init` one that does nothing. `fixed` is what the build cannot. */
export function publish(integrations: Build["integrations"], more: Exposed, fixed?: Partial<Options>): void {
  const early = global.condev;
  const make = (options: Options): Client => setClient(createClient({ ...options, ...fixed }, { integrations, load }));
  const exposed = Object.assign(Object.create(make(optionsOf(dataset))) as Exposed & Client, more, {
    getClient,
    init(options: Options) {
      // Of a script that begins twice the first one counts.
      if (!exposed.endpoint) Object.setPrototypeOf(exposed, make(options));
      return exposed;
    },
    push(...calls: Call[]) {
      for (const [name, ...args] of calls) (exposed as Exposed)[name]?.(...args);
    },
  });
  global.condev = exposed;
  if (Array.isArray(early)) exposed.push(...(early as Call[]));
}

/** `data-sample-rates='{"replay":0.1}'` → `{sampleRates: {replay: 0.1}}`; a release of "1.0" stays a text, broken JSON is left out. */
function optionsOf(data: DOMStringMap): Options {
  const parse = guardWith((error) => data["debug"] && console.debug("condev:", error))(JSON.parse as (text: string) => unknown);
  const options: Record<string, unknown> = {};
  // Neither an expression nor `fromEntries`: of a page's start the first one of each costs 0.1 ms.
  Object.keys(data).forEach((name) => {
    const text = data[name] as string;
    options[name] = "[{".includes(text[0] as string) || text === "true" || text === "false" ? parse(text) : text;
  });
  return options as unknown as Options;
}

const loading: Record<string, Promise<void>> = {};

/** Beside this script when its address has the version, else in the folder that is called like it: /sdk.js → /sdk/1.2.3/. */
async function load<Name extends keyof Chunks>(chunk: Name): Promise<Chunks[Name]> {
  // What comes later is known to what comes first, as its hash would fill this script.
  const integrity = __CHUNKS__[chunk] || ((await load("idle")).integrity[chunk] as string);
  await (loading[chunk] ||= new Promise((resolve, reject) => {
    const script = Object.assign(document.createElement("script"), {
      src: src.replace(RegExp(`(/${__VERSION__}/[^/]*|\\.js(\\?.*)?)?$`), `/${__VERSION__}/${chunk}.js`),
      integrity,
      crossOrigin: "",
      nonce,
      onload: resolve,
      onerror(event: unknown) {
        delete loading[chunk];
        script.remove();
        reject(event);
      },
    });
    document.head.append(script);
  }));
  return global.condevChunks?.[chunk] as Chunks[Name];
}
