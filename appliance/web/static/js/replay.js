// The player of a replay's page: fetches the segments, hands them to the frame that plays them, and steers it.

const AT_ONCE = 4; // requests under way
const MOST = 64 * 1024 * 1024; // characters of one replay; more than that a tab cannot hold beside its page
const STEP = 5_000; // ms of an arrow key

const player = document.querySelector("[data-player]");
if (player) set(player);

function set(root) {
  const frame = root.querySelector("iframe");
  const says = root.querySelector(".player-says");
  const find = (name) => root.querySelector(`[data-${name}]`);
  const [seek, play, clock, speed, skip] = ["seek", "play", "clock", "speed", "skip"].map(find);
  const list = document.querySelector("[data-moments]");
  let length = Number(root.dataset.length);
  let at = 0;
  let playing = false;
  let dragging = false;
  let loading = false;

  const tell = (message) => frame.contentWindow.postMessage(message, location.origin);
  const say = (text) => { says.textContent = text; says.hidden = !text; };
  const moments = () => [...list.querySelectorAll("[data-at]")];

  function show() {
    if (!dragging) seek.value = String(at);
    clock.textContent = `${words(at)} / ${words(length)}`;
    seek.setAttribute("aria-valuetext", words(at));
    play.textContent = playing ? "Pause" : "Play";
    const passed = moments().filter((item) => Number(item.dataset.at) <= at + 50).at(-1);
    for (const item of moments()) item.classList.toggle("now", item === passed);
  }

  function go(to) {
    at = Math.min(Math.max(0, to), length);
    tell({ type: "seek", at });
    show();
  }

  function toggle() { tell(playing ? { type: "pause" } : { type: "play", at }); }

  function step(way) {
    const places = moments().filter((item) => !item.classList.contains("page")).map((item) => Number(item.dataset.at));
    // From a second before an event on, "next" leads on to the one after it.
    const next = way > 0 ? places.find((place) => place > at + 1_500) : places.findLast((place) => place < at - 1_500);
    if (next !== undefined) go(Math.max(0, next - 1_000));
  }

  async function load() {
    if (loading) return; // a frame that was loaded anew says "ready" again
    loading = true;
    const count = Number(root.dataset.segments);
    let size = 0;
    let missing = 0;
    for (let first = 0; first < count && size < MOST; first += AT_ONCE) {
      say(`Loading the recording… ${first} of ${count}`);
      const numbers = Array.from({ length: Math.min(AT_ONCE, count - first) }, (_, index) => first + index);
      const texts = await Promise.all(numbers.map((number) => segment(root.dataset.source + number)));
      for (const text of texts) {
        if (text === null) missing++;
        else if ((size += text.length) <= MOST) tell({ type: "segment", text });
      }
    }
    if (missing === count) return say("The recording could not be loaded. It may have been removed; loading the page again may help.");
    tell({ type: "start", at: Number(root.dataset.startAt), speed: Number(speed.value), skip: skip.checked });
    note(size > MOST ? "This replay is very long: only its beginning is played." : missing ? `${missing} of ${count} parts of this replay are missing.` : "");
  }

  function note(text) {
    if (!text) return;
    const box = document.createElement("p");
    box.className = "note-box warn";
    box.setAttribute("role", "status");
    box.textContent = text;
    root.after(box);
  }

  const heard = {
    ready: () => load().catch(() => say("The recording could not be loaded: is the server there? Load the page again.")),
    started(message) {
      length = Math.max(length, Number(message.length) || 0);
      seek.max = String(length);
      at = Number(message.at) || 0;
      for (const element of [seek, play, ...root.querySelectorAll("[data-step]"), ...list.querySelectorAll("button")]) element.disabled = false;
      for (const one of Array.isArray(message.pages) ? message.pages : []) addPage(list, one);
      say("");
      root.dataset.ready = "";
      show();
    },
    failed(message) { say(`This replay cannot be played. ${message.reason}`); root.dataset.failed = ""; },
    time(message) { at = Number(message.at) || 0; show(); },
    state(message) { playing = message.playing === true; at = Number(message.at) || 0; show(); },
  };

  addEventListener("message", (event) => {
    if (event.source !== frame.contentWindow || event.origin !== location.origin) return;
    if (Object.hasOwn(heard, event.data?.type)) heard[event.data.type](event.data);
  });
  play.addEventListener("click", toggle);
  seek.addEventListener("input", () => { dragging = true; at = Number(seek.value); clock.textContent = `${words(at)} / ${words(length)}`; });
  seek.addEventListener("change", () => { dragging = false; go(Number(seek.value)); });
  speed.addEventListener("change", () => tell({ type: "speed", speed: Number(speed.value) }));
  skip.addEventListener("change", () => tell({ type: "skip", skip: skip.checked }));
  for (const button of root.querySelectorAll("[data-step]")) button.addEventListener("click", () => step(button.dataset.step === "next" ? 1 : -1));
  list.addEventListener("click", (event) => {
    const button = event.target.closest("button[data-to]");
    if (button) go(Number(button.dataset.to));
  });
  tell({ type: "hello" }); // it may have said that it is ready before anybody listened
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || event.defaultPrevented || !("ready" in root.dataset)) return;
    if (event.target.closest("a, button, summary, input, select, textarea") || document.querySelector("dialog[open]")) return;
    if (event.key === " ") toggle();
    else if (event.key === "ArrowLeft") go(at - STEP);
    else if (event.key === "ArrowRight") go(at + STEP);
    else return;
    event.preventDefault();
  });
}

async function segment(address) {
  const answer = await fetch(address, { credentials: "same-origin" });
  if (answer.redirected) location.reload(); // the session has ended, and what came is the sign-in page
  return answer.ok && !answer.redirected ? answer.text() : null;
}

// Pages come from the recording itself: their addresses are text, never links.
function addPage(list, { at, url }) {
  if (typeof url !== "string" || !Number.isFinite(at)) return;
  const item = document.createElement("li");
  item.className = "page";
  item.dataset.at = String(at);
  const button = document.createElement("button");
  button.type = "button";
  button.className = "link s num";
  button.dataset.to = String(at);
  button.title = "Play from here";
  button.textContent = words(at);
  const shown = document.createElement("span");
  shown.className = "moment";
  const kind = document.createElement("span");
  kind.className = "tag";
  kind.textContent = "page";
  const place = document.createElement("span");
  place.className = "clip mono s";
  place.title = url;
  place.textContent = pathOf(url);
  shown.append(kind, place);
  item.append(button, shown);
  list.querySelector("[data-none]")?.remove();
  const later = [...list.querySelectorAll("[data-at]")].find((other) => Number(other.dataset.at) > at);
  if (later) later.before(item);
  else list.append(item);
}

function pathOf(url) {
  try {
    const parts = new URL(url);
    return parts.pathname + parts.search;
  } catch {
    return url;
  }
}

function words(ms) {
  const seconds = Math.floor(ms / 1000);
  return `${Math.floor(seconds / 60)}:${String(seconds % 60).padStart(2, "0")}`;
}
