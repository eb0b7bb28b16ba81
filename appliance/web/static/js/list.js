// Lists: which row is current, which are picked, and what the picking form says.

let current = -1;

export const rows = () => [...document.querySelectorAll("tr[data-row]")];

export function move(step) {
  const all = rows();
  if (!all.length) return false;
  const focused = all.findIndex((row) => row.contains(document.activeElement));
  current = Math.max(0, Math.min(all.length - 1, (focused >= 0 ? focused : current) + step));
  mark(all);
  const link = all[current].querySelector("a[href]");
  link?.focus({ preventScroll: true });
  all[current].scrollIntoView({ block: "nearest" });
  return true;
}

export function currentRow() {
  const all = rows();
  return all.find((row) => row.contains(document.activeElement)) ?? all[current] ?? null;
}

export function pick(row = currentRow()) {
  const box = row?.querySelector("input.pick");
  if (!box) return false;
  box.checked = !box.checked;
  count();
  return true;
}

export const picked = () => [...document.querySelectorAll('input.pick[name="id"]:checked')];

export function act(action) {
  const form = document.getElementById("bulk");
  if (!form) return false;
  if (!picked().length) {
    const box = currentRow()?.querySelector("input.pick");
    if (!box) return false;
    box.checked = true;
    count();
  }
  const button = form.querySelector(`button[name="action"][value="${action}"]`);
  if (!button) return false;
  button.click(); // a click, not requestSubmit: htmx sends the button that was clicked
  return true;
}

function mark(all) {
  all.forEach((row, index) => row.classList.toggle("at", index === current));
}

function count() {
  const form = document.getElementById("bulk");
  if (!form) return;
  const chosen = picked().length;
  const all = document.querySelectorAll('input.pick[name="id"]');
  const words = form.querySelector("[data-picked]");
  words.dataset.rest ??= words.textContent;
  words.textContent = chosen ? `${chosen} selected` : words.dataset.rest;
  form.classList.toggle("picking", chosen > 0);
  const everything = form.querySelector("[data-pick-all]");
  everything.checked = chosen > 0 && chosen === all.length;
  everything.indeterminate = chosen > 0 && chosen < all.length;
  for (const button of form.querySelectorAll('button[value="merge"]')) button.disabled = chosen < 2;
}

document.addEventListener("change", (event) => {
  if (event.target.matches?.("[data-pick-all]")) {
    for (const box of document.querySelectorAll('input.pick[name="id"]')) box.checked = event.target.checked;
  }
  if (event.target.matches?.("input.pick")) count();
});

// A range with shift, as lists do everywhere.
let last = null;
document.addEventListener("click", (event) => {
  const box = event.target.closest?.('input.pick[name="id"]');
  if (!box) return;
  if (event.shiftKey && last && document.contains(last)) {
    const boxes = [...document.querySelectorAll('input.pick[name="id"]')];
    const [from, to] = [boxes.indexOf(last), boxes.indexOf(box)].sort((a, b) => a - b);
    for (const one of boxes.slice(from, to + 1)) one.checked = box.checked;
    count();
  }
  last = box;
});

document.addEventListener("htmx:afterSettle", () => {
  const search = document.getElementById("q");
  const list = document.getElementById("issues");
  if (search && list && document.activeElement !== search) search.value = list.dataset.q ?? "";
  // The search form's hidden fields follow what links changed.
  const form = document.getElementById("search");
  if (form && list?.dataset.address) {
    const wanted = new URL(list.dataset.address, location.origin).searchParams;
    for (const name of ["project", "sort", "period"]) {
      let input = form.querySelector(`input[name="${name}"]`);
      const value = wanted.get(name) ?? "";
      if (!value) { input?.remove(); continue; }
      if (!input) {
        input = Object.assign(document.createElement("input"), { type: "hidden", name });
        form.append(input);
      }
      input.value = value;
    }
  }
  count();
});
count();
