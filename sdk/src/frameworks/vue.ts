/**
 * For Vue 3: `app.use(condevVue({ router }))`. Reports what Vue's error handler is given, with the components that it
 * came through; Vue's warnings become breadcrumbs, the router's names become routes. Handlers that are already set are called.
 */
import type { App, ComponentPublicInstance, Plugin } from "vue";
import { getClient } from "../current";
import type { Data, Hint } from "../types";

/** What is used of vue-router 4 and 5. */
export interface RouterLike {
  currentRoute: { value: RouteLike };
  afterEach(guard: (to: RouteLike, from: RouteLike, failure?: unknown) => unknown): unknown;
}

export interface RouteLike {
  name?: string | symbol | null | undefined;
  matched: readonly { path: string }[];
}

export interface CondevVueOptions {
  /** Its routes name the page views. Without it, the application's own `$router` is used if `app.use(router)` came before. */
  router?: RouterLike;
  /** Send the failing component's props: they may hold what users typed. Default false. */
  props?: boolean;
  /** Added to each event: tags, contexts, level, … */
  hint?: Hint;
}

const MAX_COMPONENTS = 30; // of a chain; a recursive component has more
const MAX_PROPS = 20;
const MAX_VALUE = 200; // characters of a prop

export function condevVue(options: CondevVueOptions = {}): Plugin {
  return {
    install(app: App) {
      chainErrorHandler(app, options);
      chainWarnHandler(app);
      const router = options.router || (app.config.globalProperties["$router"] as RouterLike | undefined);
      if (router) nameRoutes(router);
    },
  };
}

function chainErrorHandler(app: App, { hint = {}, props = false }: CondevVueOptions): void {
  const before = app.config.errorHandler;
  app.config.errorHandler = (error, instance, info) => {
    const vue: Data = { info, component: nameOf(instance), componentStack: stackOf(instance) };
    if (props && instance) vue["props"] = readable(instance.$props);
    getClient()?.captureException(error, {
      mechanism: "vue",
      handled: Boolean(before),
      ...hint,
      contexts: { ...hint.contexts, vue },
    });
    // With a handler set Vue prints nothing, and a developer would look at a silent console.
    if (before) before(error, instance, info);
    else console.error(error);
  };
}

function chainWarnHandler(app: App): void {
  const before = app.config.warnHandler;
  // Vue calls it in development alone.
  app.config.warnHandler = (message, instance, trace) => {
    getClient()?.addBreadcrumb({ type: "debug", category: "vue.warn", level: "warning", message, data: { component: nameOf(instance) } });
    if (before) before(message, instance, trace);
    else console.warn(`[Vue warn]: ${message}${trace}`);
  };
}

function nameRoutes(router: RouterLike): void {
  const tell = (to: RouteLike, failure?: unknown): void => {
    const route = routeOf(to);
    if (route && !failure) getClient()?.setRoute(route);
  };
  router.afterEach((to, _from, failure) => tell(to, failure));
  tell(router.currentRoute.value); // empty until the first navigation has ended, which `afterEach` then tells
}

/** Its name, else its pattern: `/orders/:id`. */
function routeOf({ name, matched }: RouteLike): string | undefined {
  return typeof name === "string" ? name : matched.at(-1)?.path;
}

/** As React writes it: a line for each component, the failing one first. */
function stackOf(instance: ComponentPublicInstance | null): string {
  let text = "";
  let one = instance;
  for (let depth = 0; one && depth < MAX_COMPONENTS; depth++) {
    const file = one.$options["__file"] as string | undefined;
    text += `\n    at ${nameOf(one)}${file ? ` (${file})` : ""}`;
    one = one.$parent;
  }
  return text;
}

function nameOf(instance: ComponentPublicInstance | null): string {
  if (!instance) return "Anonymous";
  if (instance.$root === instance) return "Root";
  const { name, __name, __file } = instance.$options as { name?: string; __name?: string; __file?: string };
  return name || __name || __file?.replace(/^.*\/|\.\w+$/g, "") || "Anonymous";
}

/** Texts and figures as they are, the rest by its kind: a prop may be a whole store. */
function readable(props: object): Data {
  const entries = Object.entries(props).slice(0, MAX_PROPS);
  return Object.fromEntries(
    entries.map(([name, value]: [string, unknown]) => [
      name,
      value === null || typeof value !== "object" ? String(value).slice(0, MAX_VALUE) : ({}).toString.call(value),
    ]),
  );
}
