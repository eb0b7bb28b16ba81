// Makes a recording harmless before it is played. A recording is what somebody sent: anything may stand in it.
//
// The frame that plays it may load nothing and run nothing of it anyway (its policy and its inner frame's sandbox say
// so). This comes before that: what would load, run, lead away or take the focus is not there at all.

const BLANK = "data:image/gif;base64,R0lGODlhAQABAAAAACH5BAEKAAEALAAAAAABAAEAAAICTAEAOw==";
const MAX_SIDE = 10_000; // px of a viewport
const MAX_NODES = 400_000; // in one event; more would stop the tab

// Of rrweb's incremental sources: mutations, pointer, scroll, resize, inputs, touch, style sheets, drag, selection.
const SOURCES = new Set([0, 1, 2, 3, 4, 5, 6, 8, 12, 13, 14, 15]);
const STYLE_SOURCES = new Set([8, 13, 15]);
const NOTHING = "noscript"; // what is not shown
const REPLACED = {
  script: NOTHING, base: NOTHING, meta: NOTHING, noscript: NOTHING,
  object: "div", embed: "div", applet: "div", portal: "div", frame: "div", frameset: "div", fencedframe: "div",
};
const GONE = new Set([
  "srcdoc", "srcset", "imagesrcset", "http-equiv", "ping", "background", "action", "formaction", "data", "manifest",
  "codebase", "archive", "classid", "lowsrc", "dynsrc", "longdesc", "cite", "profile", "nonce", "autofocus", "autoplay",
  "target", "download", "is", "popovertarget", "command", "commandfor", "allow", "sandbox", "csp", "rr_src", "attributionsrc",
]);
const IMAGES = new Set(["src", "poster", "rr_dataurl", "href", "xlink:href"]);
const PICTURES = new Set(["img", "image", "input", "video", "canvas"]); // what shows an image; anything else would load a document
const LINKS = new Set(["href", "xlink:href"]);

/** The events that can be played, in the order of time, and the pages that were shown: `{events, pages}`. */
export function clean(found) {
  const events = [];
  tags = new Map();
  for (const event of found) {
    const kept = usable(event) && playable(event);
    if (kept) events.push(event);
  }
  events.sort((one, other) => one.timestamp - other.timestamp);
  return { events, pages: pagesOf(events) };
}

let tags = new Map(); // node id → name: what an attribute means depends on it

function usable(event) {
  return isObject(event) && Number.isFinite(event.timestamp) && isObject(event.data);
}

function playable(event) {
  const data = event.data;
  if (event.type === 2) return isObject(data.node) && cleanNode(data.node);
  if (event.type === 3) return SOURCES.has(data.source) && incremental(data);
  if (event.type === 4) return sized(data);
  return event.type === 0 || event.type === 1 || event.type === 5;
}

function incremental(data) {
  if (data.source === 4) return sized(data);
  if (STYLE_SOURCES.has(data.source)) deepStyles(data, 0);
  if (data.source !== 0) return true;
  for (const key of ["adds", "attributes", "removes", "texts"]) {
    if (!Array.isArray(data[key])) data[key] = [];
    data[key] = data[key].filter(isObject);
  }
  data.adds = data.adds.filter((add) => isObject(add.node) && cleanNode(add.node));
  for (const change of data.attributes) change.attributes = attributes(change.attributes, tags.get(change.id));
  for (const change of data.texts) if (typeof change.value === "string") change.value = css(change.value);
  return true;
}

function sized(data) {
  for (const side of ["width", "height"]) {
    const size = Number(data[side]);
    data[side] = size >= 1 ? Math.min(size, MAX_SIDE) : 1;
  }
  return true;
}

function cleanNode(root) {
  const waiting = [root];
  let count = 0;
  while (waiting.length) {
    const node = waiting.pop();
    if (++count > MAX_NODES) return false;
    if (node.type === 2) element(node);
    else if (typeof node.textContent === "string") node.textContent = node.isStyle ? css(node.textContent) : node.textContent;
    if (!Array.isArray(node.childNodes)) {
      if (node.type === 0 || node.type === 2) node.childNodes = [];
      continue;
    }
    node.childNodes = node.childNodes.filter(isObject);
    for (const child of node.childNodes) waiting.push(child);
  }
  return true;
}

function element(node) {
  const name = String(node.tagName).toLowerCase();
  delete node.isCustom; // no element of the recording is defined
  const style = name === "link" && isObject(node.attributes) && typeof node.attributes._cssText === "string";
  if (name === "link" && !style) return empty(node);
  if (!/^[a-z][\w.:-]*$/.test(name)) node.tagName = "div";
  else if (Object.hasOwn(REPLACED, name)) {
    if (REPLACED[name] === NOTHING) return empty(node);
    node.tagName = REPLACED[name];
  }
  tags.set(node.id, name);
  node.attributes = attributes(node.attributes, name);
  if (style) node.attributes.rel = "stylesheet";
  if (name === "style") for (const child of Array.isArray(node.childNodes) ? node.childNodes : []) if (isObject(child)) child.isStyle = true;
}

function empty(node) {
  node.tagName = NOTHING;
  node.attributes = {};
  node.childNodes = [];
}

function attributes(found, tag) {
  const kept = {};
  for (const [name, value] of Object.entries(isObject(found) ? found : {})) {
    const key = name.toLowerCase();
    if (key.startsWith("on") || key.startsWith("rr_media") || GONE.has(key) || !/^[^\s"'<>/=]+$/.test(name) || name === "__proto__") continue;
    if (key === "style" && isObject(value)) deepStyles((kept[name] = value), 0);
    else if (value === null || typeof value === "boolean" || typeof value === "number") kept[name] = value;
    else if (typeof value === "string") {
      const made = text(key, value, tag);
      if (made !== null) kept[name] = made;
    }
  }
  return kept;
}

function text(key, value, tag) {
  if (LINKS.has(key) && !PICTURES.has(tag)) return value.startsWith("#") ? value : "#";
  if (IMAGES.has(key)) {
    if (!PICTURES.has(tag) || (tag === "video" && key === "src")) return null;
    return /^data:image\//i.test(value) ? value : BLANK;
  }
  if (key === "_csstext" || key === "style") return css(value);
  return /^\s*(javascript|vbscript|data):/i.test(value) && key !== "value" ? "" : value;
}

// Addresses in styles become nothing; what is embedded stays. The policy holds for what this does not know.
function css(value) {
  return value.replace(/@import[^;]*;?/gi, "").replace(/(image-set|src)\((?:[^()]|\([^()]*\))*\)/gi, "none").replace(/url\(\s*(?!["']?(?:data:image\/|data:font\/|data:application\/|#))[^)]*\)/gi, "url()");
}

function deepStyles(value, depth) {
  if (depth > 8) return;
  for (const [key, inner] of Object.entries(value)) {
    if (typeof inner === "string") value[key] = css(inner);
    else if (isObject(inner) || Array.isArray(inner)) deepStyles(inner, depth + 1);
  }
}

// Where a page begins: rrweb says its address with each whole picture, our SDK each route change.
function pagesOf(events) {
  const pages = [];
  const start = events.length ? events[0].timestamp : 0;
  for (const event of events) {
    const said = event.type === 4 ? event.data.href : event.type === 5 && event.data.tag === "page" && isObject(event.data.payload) ? event.data.payload.url : undefined;
    if (typeof said !== "string" || said === pages.at(-1)?.url || pages.length >= 200) continue;
    pages.push({ at: event.timestamp - start, url: said.slice(0, 2048) });
  }
  return pages;
}

function isObject(value) {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}
