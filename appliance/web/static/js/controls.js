// Small behaviour that pages ask for with data attributes, and what htmx needs to know.

document.documentElement.classList.add("js");

const SHOWN = 8000; // ms; with something to press twice that, and as long as it is pointed at or has the focus

export function toast(text, tone = "", action = null) {
  const place = document.getElementById("toast");
  if (!place || !text) return;
  const note = document.createElement("div");
  note.className = tone;
  const words = document.createElement("span");
  words.textContent = text;
  note.append(words);
  if (action) note.append(action);
  place.append(note);
  const leave = () => (note.matches(":hover, :focus-within") ? setTimeout(leave, 1000) : note.remove());
  setTimeout(leave, action ? 2 * SHOWN : SHOWN);
}

// A button that posts what takes an action back, to where its form posts, and shows the list that comes of it.
function undoing(values) {
  const button = document.createElement("button");
  button.type = "button";
  button.className = "btn small";
  button.textContent = "Undo";
  button.addEventListener("click", () => {
    const list = document.getElementById("issues");
    if (!list || !window.htmx) return;
    button.closest("#toast > *").remove();
    window.htmx.ajax("POST", "/issues/actions", { target: "#issues", swap: "outerHTML", values: { ...values, back: list.dataset.address } });
  });
  return button;
}

function once(root, selector, name, set) {
  for (const element of root.querySelectorAll(selector)) {
    if (element.dataset[name]) continue;
    element.dataset[name] = "1";
    set(element);
  }
}

function prepare(root) {
  once(root, "[data-copy]", "ready", (button) => { button.hidden = false; });
  once(root, "select[data-submit]", "ready", (select) => select.addEventListener("change", () => select.form.requestSubmit()));
  once(root, "input[data-narrow]", "ready", (input) => input.addEventListener("input", () => {
    const wanted = input.value.trim().toLowerCase();
    for (const item of input.parentElement.querySelectorAll(".item")) item.hidden = !item.textContent.toLowerCase().includes(wanted);
  }));
}

document.addEventListener("click", async (event) => {
  const copy = event.target.closest?.("[data-copy]");
  if (copy) {
    const text = copy.parentElement.querySelector("[data-copied]")?.textContent ?? "";
    const before = copy.textContent;
    try {
      await navigator.clipboard.writeText(text);
      copy.textContent = "Copied";
    } catch {
      getSelection().selectAllChildren(copy.parentElement.querySelector("[data-copied]"));
      copy.textContent = "Press ctrl-c";
    }
    setTimeout(() => { copy.textContent = before; }, 2000);
    return;
  }
  // A menu closes when something else is clicked, or when an entry of it was.
  for (const menu of document.querySelectorAll("details.menu[open]")) {
    if (!menu.contains(event.target) || event.target.closest("a.item")) menu.open = false;
  }
});

// Capturing: it asks before htmx or another listener sends the form.
document.addEventListener("submit", (event) => {
  const question = event.submitter?.dataset.confirm ?? event.target.dataset.confirm;
  if (question && !window.confirm(question)) {
    event.preventDefault();
    event.stopImmediatePropagation();
  }
}, true);

document.addEventListener("htmx:configRequest", (event) => {
  const token = document.querySelector('meta[name="csrf-token"]')?.content;
  if (token) event.detail.headers["X-CSRFToken"] = token;
});
document.addEventListener("toast", (event) => toast(event.detail.text, event.detail.tone, event.detail.undo ? undoing(event.detail.undo) : null));
document.addEventListener("htmx:sendError", () => toast("The server did not answer. What you see is the last that it said.", "bad"));
document.addEventListener("htmx:responseError", (event) => {
  if (event.detail.xhr.status === 401) location.assign("/sign-in");
});
// Errors come as a short note for the toast.
document.addEventListener("htmx:beforeSwap", (event) => {
  if (event.detail.xhr.status >= 400 && event.detail.xhr.getResponseHeader("HX-Retarget") === "#toast") event.detail.shouldSwap = true;
});
document.addEventListener("htmx:afterSettle", (event) => {
  const place = document.getElementById("toast");
  if (event.detail.target === place) for (const note of place.children) setTimeout(() => note.remove(), 8000);
});
document.addEventListener("htmx:load", (event) => prepare(event.target.parentElement ?? document));
prepare(document);
// A form that comes back says beside a field what is wrong with it: begin there.
document.querySelector('[aria-invalid="true"]')?.focus();
