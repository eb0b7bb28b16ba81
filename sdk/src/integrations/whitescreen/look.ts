/**
 * One look at what the viewport shows: content, something that is still loading, or nothing. It changes nothing in
 * the page and decides nothing: ./index.ts looks again before it reports.
 *
 * A grid of points comes first. A sparse page (a login form in a wide window) may be missed by every point: then
 * whatever could be content is looked up in the DOM, and counts if it is what is seen at its own place.
 */
import { selectorOf } from "../../selector";
import type { WhiteScreenOptions } from "../../types";

export type Found = "content" | "loading" | "empty";

export interface Point {
  x: number;
  y: number;
  found: Found;
  /** What decided: the topmost element that is seen there. */
  element: string;
}

export interface Look {
  /** Why it is white: "empty_root", "hidden", "background", "skeleton" or "loading_mask"; "" when it is not. */
  reason: string;
  points: Point[];
  /** How many of the points show nothing. */
  empty: number;
  /** The mask or skeleton that was seen. */
  waiting: string;
  /** Where the application is drawn, if it says so. */
  root: Element | null;
}

const ROOTS = "#root,#app,#__next,#__nuxt,main";
const LOADING = ["skeleton", "shimmer", "loading", "loader", "spinner", "splash"];
const SOLID = "canvas,video,iframe,object,embed,input,textarea,select";
const DIALOGS = ",dialog,[role=dialog]"; // these stand outside of the root, and hide it
const SIDE = 5; // 25 points: a page with a few lines of text is hit by one; more cost hit tests and find nothing new
const MAX_ELEMENTS = 5000; // a page with more, none of which shows, is not worth a longer stop
const MIN_AREA = 64; // px²: smaller is a tracking pixel, or text for screen readers only

/** `closest` that goes on from a shadow root to its host. */
function closest(element: Element | undefined, selector: string | undefined): Element | undefined {
  return selector && element ? element.closest(selector) || closest((element.getRootNode() as ShadowRoot).host, selector) : undefined;
}

const textOf = (element: Element): ChildNode | undefined =>
  [...element.childNodes].find((node) => node.nodeType === 3 && /\S\S/.test((node as Text).data));

/** What shows something without text of its own; svg is left to the callers, because spinners are made of it. */
const solid = (element: Element): unknown =>
  (element as Partial<HTMLImageElement>).naturalWidth ||
  // A component that shows nothing outside may have a closed shadow root, which nobody can look into.
  element.matches(SOLID + (/-/.test(element.localName) && !element.shadowRoot ? ",:defined:empty" : ""));

/** Elements, and before each host what `inside` finds in its open shadow root. */
const pierced = (elements: Iterable<Element>, inside: (root: ShadowRoot) => Element[]): Element[] =>
  [...elements].flatMap((element) => (element.shadowRoot ? [...inside(element.shadowRoot), element] : element));

/** Everything at a point, topmost first. */
const stack = (scope: Document | ShadowRoot, x: number, y: number): Element[] =>
  pierced(
    scope.elementsFromPoint(x, y).filter((element) => element.getRootNode() === scope),
    (root) => stack(root, x, y),
  );

const everything = (scope: ParentNode): Element[] => pierced(scope.querySelectorAll("*"), everything);

export function look(options: WhiteScreenOptions): Look {
  const roots = options.roots?.join();
  const own = options.loading?.join(); // the page's own list is certain, a name is only a hint
  const masks = own || LOADING.map((word) => `[class*=${word} i],[id*=${word} i]`).join();
  const ignore = options.ignore?.join();
  const root = document.querySelector(roots || ROOTS);
  const counts = { content: 0, loading: 0, empty: 0 };
  let waiting = "";

  const bears = (element: Element): unknown =>
    (textOf(element) || solid(element) || element.localName === "svg") && (!roots || closest(element, roots + DIALOGS));

  /** What an element is where it is seen; undefined is looked through. */
  const judge = (element: Element): Found | undefined => {
    if (element.checkVisibility?.({ checkOpacity: true, checkVisibilityCSS: true }) === false || closest(element, ignore)) return;
    const mask = closest(element, masks);
    if (
      mask &&
      !mask.contains(document.body) &&
      // "Loading your workspace, please wait…" is a mask; with more text in it, it is a page. A picture that has loaded
      // inside of "lazy-loading" is seen.
      (own || !(/(\S\s*){80}/.test(mask.textContent) || mask.querySelector("a," + SOLID) || solid(element)))
    ) {
      waiting = selectorOf(mask);
      return "loading";
    }
    if (bears(element)) return "content";
    const { backgroundColor, opacity } = getComputedStyle(element);
    // rgba(…) and color(… / 0.5) have an alpha: what is below shines through.
    return opacity === "1" && !/^rgba|\//.test(backgroundColor) ? "empty" : undefined;
  };

  const probe = (x: number, y: number): Point => {
    const elements = stack(document, x, y);
    let found: Found | undefined;
    const element = elements.find((at) => (found = judge(at))) ?? elements[0];
    return { x: x | 0, y: y | 0, found: found ?? "empty", element: element ? selectorOf(element) : "" };
  };

  /** Whether an element that the grid missed is content in plain view. */
  const shows = (element: Element): unknown => {
    if (!bears(element)) return;
    const range = document.createRange();
    range.selectNode(textOf(element) ?? element);
    const box = range.getClientRects()[0]; // of text: its first line
    if (!box || box.width * box.height < MIN_AREA || judge(element) !== "content") return;
    const seen = probe(box.left + box.width / 2, box.top + box.height / 2);
    if (!seen.element) {
      // Outside of the viewport: content only of a page that somebody scrolled.
      for (let at: Element | null = element; at; at = at.parentElement) if (at.scrollTop) return true;
      return;
    }
    // Hit tests pass through what takes no clicks, though it is seen.
    const passed = getComputedStyle(element).pointerEvents === "none" || closest(element, "[inert]");
    return seen.found === "content" || (seen.found === "empty" && passed);
  };

  const points = Array.from({ length: SIDE * SIDE }, (_, at) => {
    const point = probe((innerWidth * ((at % SIDE) + 0.5)) / SIDE, (innerHeight * (((at / SIDE) | 0) + 0.5)) / SIDE);
    counts[point.found] += 1;
    return point;
  });
  // A bar with the application's name above a screen of skeletons is no content yet.
  const stuck = counts.loading * 2 > points.length;
  const all = stuck || counts.content ? [] : everything(document.body).slice(0, MAX_ELEMENTS);
  const white = stuck || !(counts.content || all.some(shows));
  const reason = waiting
    ? /skel|shim/i.test(waiting)
      ? "skeleton"
      : "loading_mask"
    : root?.firstElementChild === null
      ? "empty_root"
      : all.some((element) => bears(element) && !/script|style/.test(element.localName))
        ? "hidden"
        : "background";
  return { reason: white ? reason : "", points, empty: counts.empty, waiting, root };
}
