import { afterEach, describe, expect, it, vi } from "vitest";
import { createMasks } from "../src/replay/masks";
import { type Attributes, scrub } from "../src/replay/scrub";

afterEach(() => {
  document.body.innerHTML = "";
});

describe("attributes", () => {
  const scrubbed = (attributes: Attributes, options = {}, html = "<i></i>"): Attributes => {
    document.body.innerHTML = html;
    const event = { type: 3, timestamp: 1, data: { source: 0, attributes: [{ id: 1, attributes }] } };
    scrub(event, createMasks(options, () => {}), () => document.body.firstElementChild);
    return attributes;
  };

  it("lose words, values, code and the parameters of addresses", () => {
    const found = scrubbed({
      title: "Ada Lovelace", placeholder: "Your name", "aria-label": "Send to Ada", alt: "Ada", value: "secret",
      "data-user": "ada@example.com", "data-card": "41111111", "data-state": "open", class: "button", id: "pay",
      onclick: "pay('secret')", srcdoc: "<p>secret", href: "https://shop.test/?token=secret#to=secret",
      style: "background: url('https://cdn.test/a.png?signature=secret')",
    });
    expect(JSON.stringify(found)).not.toMatch(/secret|Ada|ada@|4111|Your/);
    expect(found).toMatchObject({ class: "button", id: "pay", "data-state": "open", href: "https://shop.test/?token=*#to=*" });
  });

  it("stay where the page says that they may", () => {
    expect(scrubbed({ title: "Help" }, {}, "<i data-condev-unmask></i>")).toEqual({ title: "Help" });
    expect(scrubbed({ title: "Help" }, { unmaskSelector: ".open" }, '<i class="open"></i>')).toEqual({ title: "Help" });
    expect(scrubbed({ title: "Help", "data-user": "a b" }, { maskText: false })).toEqual({ title: "Help", "data-user": "a b" });
  });
});

describe("masks", () => {
  const element = (html: string): Element => {
    document.body.innerHTML = html;
    return document.querySelector("#it") as Element;
  };

  it("reach through the edge of a shadow tree", () => {
    const masks = createMasks({ maskText: false }, () => {});
    const shadow = element("<p data-condev-mask><span id='it'></span></p>").attachShadow({ mode: "open" });
    shadow.innerHTML = "<i>Ada</i>";
    expect(masks.text("Ada", shadow.querySelector("i") as Element)).toBe("***");
  });

  it("keep passwords and cards masked whatever is said", () => {
    const masks = createMasks({ maskInputs: false, unmaskSelector: "form" }, () => {});
    expect(masks.value("secret", element('<form><input id="it" type="password"></form>'))).toBe("******");
    expect(masks.value("4111 1", element('<form><input id="it" autocomplete="cc-number"></form>'))).toBe("**** *");
    expect(masks.value("Berlin", element('<form><input id="it"></form>'))).toBe("Berlin");
  });

  it("mask within what is unmasked where the page says so", () => {
    const masks = createMasks({}, () => {});
    expect(masks.text("Ada", element('<p data-condev-unmask><b data-condev-mask id="it"></b></p>'))).toBe("***");
    expect(masks.text("Ada", element('<p data-condev-unmask><b id="it"></b></p>'))).toBe("Ada");
  });

  it("hide everything when a selector cannot be read", () => {
    const log = vi.fn();
    expect(createMasks({ maskText: false, maskSelector: ":::" }, log).text("Ada", document.body)).toBe("***");
    expect(createMasks({ blockSelector: "[" }, log).blockSelector).toContain("*");
    expect(log).toHaveBeenCalledTimes(2);
  });
});

describe("attributes", () => {
  const scrubbed = (tagName: string, attributes: Attributes, options = {}): Attributes => {
    document.body.innerHTML = `<${tagName} id="it"></${tagName}>`;
    const node = { id: 1, type: 2, tagName, attributes: { ...attributes } };
    scrub({ type: 2, timestamp: 0, data: { node } }, createMasks(options, () => {}), () => document.querySelector("#it"));
    return node.attributes;
  };
  const addresses = { href: "mailto:ada@x.com?subject=Hi", src: " TEL:+4930", action: "sms:+4930", cite: "https://x.com/a?t=1", data: "data:image/png;base64,AA" };

  it("with the address of a person are masked unless text is not", () => {
    expect(scrubbed("a", addresses)).toEqual({
      href: "mailto:********************", src: " TEL:*****", action: "sms:*****", cite: "https://x.com/a?t=*", data: "data:image/png;base64,AA",
    });
    expect(scrubbed("a", addresses, { maskText: false })["href"]).toBe("mailto:ada@x.com?subject=Hi");
  });

  const own = { name: "Ada", "user-mail": "a@b.c", empty: "", class: "card", "aria-expanded": "true", "data-state": "open", "data-who": "Ada L" };

  it("of a component are masked, but for those that every element has", () => {
    const masked = { ...own, name: "***", "user-mail": "*****", "data-who": "*** *" };
    expect(scrubbed("user-card", own)).toEqual(masked);
    expect(scrubbed("user-card", own, { maskText: false })).toEqual(own);
    expect(scrubbed("div", { ...own, name: "Ada" })["name"]).toBe("Ada");
  });

  it("of a component that change are masked, also when it is gone", () => {
    document.body.innerHTML = "<user-card></user-card>";
    for (const node of [document.querySelector("user-card"), null]) {
      const change = { id: 1, attributes: { name: "Ada" } };
      scrub({ type: 3, timestamp: 0, data: { attributes: [change] } }, createMasks({}, () => {}), () => node);
      expect(change.attributes).toEqual({ name: "***" });
    }
  });
});
