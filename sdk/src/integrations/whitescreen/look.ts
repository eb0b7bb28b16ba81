/**
 * One look at what the viewport shows: content, something that is still loading, or nothing. It changes nothing in
 * the page and decides nothing: ./index.ts looks again before it reports.
 *
 * A grid of points comes first. A sparse page (a login form in a wide window) may be missed by every point: then
 * whatever could be content is looked up in the DOM, and counts if it is what is seen at its own place.
 */
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
  white: boolean;
  /** Why it is white: "empty_root", "hidden", "background", "skeleton" or "loading_mask". */
  reason: string;
  points: Point[];
  root: Element | null;
}

const ROOTS = "#root,#app,#__next,#__nuxt,[data-reactroot],main";
const LOADING = ["skeleton", "shimmer", "loading", "loader", "spinner", "splash"]
  .map((word) => `[class*=${word} i],[id*=${word} i]`)
  .join();
const CONTROLS = "a[href],input,select,textarea,video,iframe,canvas";
const DIALOGS = "dialog,[role=dialog],[aria-modal=true]"; // these stand outside of the root, and hide it
const SIDE = 5; // 25 points: a page with a few lines of text is hit by one; more cost hit tests and find nothing new
const MAX_ELEMENTS = 5000; // a page with more, none of which shows, is not worth a longer stop
const MIN_AREA = 64; // px²: smaller is a tracking pixel, or text for screen readers only
const WORDY = /(\S\s*){80}/; // "Loading your workspace, please wait…" is a mask; with more text in it, it is a page

/** The element as people write it in CSS: div#root.app. */
export function nameOf(element: Element): string {
  return [element.localName + (element.id && "#" + element.id), ...[...element.classList].slice(0, 3)].join(".");
}

/** `closest` that goes on from a shadow root to its host. */
function closest(element: Element, selector: string): Element | undefined {
  for (let at: Element | undefined = element; at; at = (at.getRootNode() as ShadowRoot).host) {
    const hit = at.closest(selector);
    if (hit) return hit;
  }
  return;
}

const textOf = (element: Element): ChildNode | undefined =>
  [...element.childNodes].find((node) => node.nodeType === 3 && /\S\S/.test((node as Text).data));

/** What shows something without text of its own. */
function solid(element: Element): boolean {
  const name = element.localName;
  if (name === "img") return (element as HTMLImageElement).naturalWidth > 0;
  if (name === "iframe") {
    // Another origin's cannot be looked into; one that can, and is blank, shows nothing.
    const inner = (element as HTMLIFrameElement).contentDocument;
    return !inner || !!inner.body?.childElementCount || !!inner.body?.innerText;
  }
  return (
    /^(svg|canvas|video|object|embed|input|textarea|select)$/.test(name) ||
    // A component that shows nothing outside may have a closed shadow root, which nobody can look into.
    (name.includes("-") && element.matches(":defined") && !element.shadowRoot && !element.firstChild)
  );
}

function opaque(element: Element): boolean {
  const { backgroundColor, opacity } = getComputedStyle(element);
  return opacity === "1" && !/^rgba|\//.test(backgroundColor); // rgba(…) and color(… / 0.5) have an alpha
}

/** Everything at a point, topmost first, open shadow roots included. */
function stack(scope: DocumentOrShadowRoot, x: number, y: number): Element[] {
  return scope
    .elementsFromPoint(x, y)
    .filter((element) => element.getRootNode() === scope)
    .flatMap((element) => (element.shadowRoot ? [...stack(element.shadowRoot, x, y), element] : element));
}

function* everything(scope: ParentNode): Generator<Element> {
  for (const element of scope.querySelectorAll("*")) {
    yield element;
    if (element.shadowRoot) yield* everything(element.shadowRoot);
  }
}

export function look(options: WhiteScreenOptions): Look {
  const roots = options.roots?.join();
  const own = options.loading?.join(); // the page's own list is certain, a name is only a hint
  const ignore = options.ignore?.join();
  const root = document.querySelector(roots || ROOTS);
  const points: Point[] = [];
  const counts = { content: 0, loading: 0, empty: 0 };
  let waiting = "";

  const seen = (element: Element): boolean =>
    (element.checkVisibility?.({ checkOpacity: true, checkVisibilityCSS: true }) ?? true) && !(ignore && closest(element, ignore));

  const content = (element: Element): boolean =>
    (!!textOf(element) || solid(element)) && (!roots || !!closest(element, roots + "," + DIALOGS));

  const mask = (element: Element): Element | undefined => {
    const hit = closest(element, own || LOADING);
    if (!hit || hit.contains(document.body)) return;
    return own || !(WORDY.test(hit.textContent) || hit.querySelector(CONTROLS)) ? hit : undefined;
  };

  const probe = (x: number, y: number): Point => {
    let found: Found = "empty";
    let name = "";
    for (const element of stack(document, x, y).filter(seen)) {
      name ||= nameOf(element);
      const covering = mask(element);
      // A picture that has loaded inside of "lazy-loading" is seen; the turning svg of a spinner is one too.
      if (covering && (own || !solid(element) || element.localName === "svg")) {
        found = "loading";
        waiting = name = nameOf(covering);
      } else if (content(element)) {
        found = "content";
        name = nameOf(element);
      }
      if (found !== "empty" || opaque(element)) break;
    }
    return { x: Math.round(x), y: Math.round(y), found, element: name };
  };

  /** Whether an element that the grid missed is content in plain view. */
  const shows = (element: Element): boolean => {
    if (!content(element) || !seen(element)) return false;
    const range = document.createRange();
    range.selectNode(textOf(element) ?? element);
    const box = range.getClientRects()[0]; // of text: its first line
    if (!box || box.width * box.height < MIN_AREA) return false;
    const left = Math.max(box.left, 0);
    const right = Math.min(box.right, innerWidth);
    const top = Math.max(box.top, 0);
    const bottom = Math.min(box.bottom, innerHeight);
    if (left >= right) return false;
    if (top >= bottom) {
      // Above or below what is seen: content only of a page that somebody scrolled.
      for (let at: Element | null = element; at; at = at.parentElement) if (at.scrollTop) return true;
      return false;
    }
    const { found } = probe((left + right) / 2, (top + bottom) / 2);
    return (
      found === "content" ||
      // Hit tests pass through what takes no clicks, though it is seen.
      (found === "empty" && (getComputedStyle(element).pointerEvents === "none" || !!closest(element, "[inert]")))
    );
  };

  const result = (white: boolean, reason = ""): Look => ({ white, reason, points, root });

  for (let at = 0; at < SIDE * SIDE; at += 1) {
    const point = probe((innerWidth * ((at % SIDE) + 0.5)) / SIDE, (innerHeight * (Math.floor(at / SIDE) + 0.5)) / SIDE);
    counts[point.found] += 1;
    points.push(point);
  }
  // A bar with the application's name above a screen of skeletons is no content yet.
  const stuck = counts.loading * 2 > points.length;
  let hidden = false;
  if (!stuck) {
    if (counts.content) return result(false);
    let left = MAX_ELEMENTS;
    for (const element of everything(document.body)) {
      if (shows(element)) return result(false);
      hidden ||= !!textOf(element) && !/script|style/.test(element.localName);
      if (!--left) break;
    }
  }
  if (waiting) return result(true, /skeleton|shimmer/i.test(waiting) ? "skeleton" : "loading_mask");
  return result(true, root && !root.childElementCount ? "empty_root" : hidden ? "hidden" : "background");
}
