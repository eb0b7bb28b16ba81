// A small shop: clicks for the breadcrumbs, something to look at in a replay, and functions for stacks to go through.
import kettle from "./kettle.svg";
import cup from "./cup.svg";
import tin from "./tin.svg";

export const products = [
  { sku: "K-100", name: "Kettle", price: 4200, picture: kettle },
  { sku: "C-220", name: "Cup", price: 950, picture: cup },
  { sku: "T-305", name: "Tea tin", price: 1800, picture: tin },
];
const prices = new Map(products.map(({ sku, price }) => [sku, price]));
const cart = [];

export function showShelf() {
  const list = document.getElementById("products");
  for (const product of products) {
    const item = document.createElement("li");
    const picture = Object.assign(document.createElement("img"), { src: product.picture, alt: "", width: 56, height: 56 });
    const name = Object.assign(document.createElement("span"), { textContent: product.name });
    const cost = Object.assign(document.createElement("span"), { textContent: money(product.price), className: "soft" });
    const button = Object.assign(document.createElement("button"), { type: "button", textContent: "Add" });
    button.setAttribute("aria-label", `Add ${product.name} to the cart`);
    button.addEventListener("click", () => add(product));
    item.append(picture, name, cost, button);
    list.append(item);
  }
}

function add({ sku }) {
  cart.push({ sku, quantity: 1 });
  const sum = sumCart(cart, prices);
  document.getElementById("cart").textContent = `${cart.length} in the cart, ${money(sum)}`;
}

export function sumCart(lines, priceOf) {
  return lines.reduce((sum, line) => sum + lineTotal(line, priceOf), 0);
}

function lineTotal({ sku, quantity }, priceOf) {
  const price = priceOf.get(sku);
  return price.valueOf() * quantity; // a sku without a price: the TypeError of the checkout
}

function money(cents) {
  return `€ ${(cents / 100).toFixed(2)}`;
}
