// A page that goes wrong in every way that a page can. Each is a function of its own, and leaves nobody to catch it.
globalThis._sentryDebugIds = { [new Error().stack]: "85314830-023f-4cf1-a267-535f4e37bb17" };

const later = (fail) => setTimeout(fail, 0);
class CartError extends Error {
  name = "CartError";
  code = "E_STOCK";
}

const shop = {
  uncaught: () => later(function totalOf() { undefined.price; }),
  text: () => later(() => { throw "cart is locked"; }),
  rejectedError: () => void Promise.reject(new RangeError("quantity is out of range")),
  rejectedText: () => void Promise.reject("no courier tonight"),
  rejectedNothing: () => void Promise.reject(undefined),
  rejectedObject: () => void Promise.reject({ code: "E_COUPON", attempts: 3, body: { secret: 1 } }),
  rejectedDom: () => void Promise.reject(new DOMException("storage is gone", "DataError")),
  rejectedEvent: () => void new Promise((_, reject) => document.body.append(Object.assign(document.createElement("script"), { id: "widget", src: "/missing/widget.js?key=secret", onerror: reject }))),
  foreignRealm: () => {
    const frame = document.body.appendChild(document.createElement("iframe"));
    void Promise.reject(new frame.contentWindow.RangeError("from another realm"));
  },
  chain: () => later(() => { throw new Error("payment failed", { cause: new Error("bank said no", { cause: new TypeError("no route to the bank") }) }); }),
  aggregate: () => void Promise.any([Promise.reject(new Error("first mirror is down")), Promise.reject(new TypeError("second mirror is down"))]),
  cyclic: () => later(() => {
    const error = new Error("snake");
    error.cause = new Error("tail", { cause: error });
    throw error;
  }),
  captured: () => condev.captureException(new CartError("no kettle in stock")),
  capturedThenThrown: () => later(() => {
    const error = new Error("reported once");
    condev.captureException(error);
    throw error;
  }),
  burst: () => ["anna", "bert", "carl", "dora", "emil", "frida", "gert", "hanna", "ida", "jan", "karl", "lena"].forEach((name) => later(() => { throw new Error(`basket of ${name} is broken`); })),
  flood: (times) => { for (let index = 0; index < times; index++) later(() => { throw new Error("stock service is busy"); }); },
  logged: () => console.error("price list is empty", 3, { token: "secret" }),
  pictures: () => document.body.append(
    Object.assign(document.createElement("img"), { id: "hero", src: "/missing/hero.png?v=secret" }),
    Object.assign(document.createElement("link"), { rel: "stylesheet", href: "/missing/theme.css" }),
    Object.assign(document.createElement("video"), { id: "film", src: "/missing/film.mp4" }),
    Object.assign(document.createElement("img"), { src: "http://pictures.example/blocked.png?v=secret" }),
  ),
};
