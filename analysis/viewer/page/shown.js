// Makes elements, and shows texts of others: never as markup, with control characters made visible.
"use strict";

const shown = (() => {
  const PART = 20000; // characters of a long text that are shown at once
  // Would be invisible, or reorder what stands around them: controls but tab and line break, bidirectional
  // marks, zero-width characters, half of a surrogate pair, tags.
  const HIDDEN =
    /[\x00-\x08\x0b-\x1f\x7f-\x9f\xad\u061c\u180e\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb]|[\ud800-\udbff](?![\udc00-\udfff])|(?<![\ud800-\udbff])[\udc00-\udfff]|\udb40[\udc00-\udc7f]/g;

  function el(tag, attributes = {}, children = []) {
    const element = document.createElement(tag);
    for (const [name, value] of Object.entries(attributes)) {
      if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
      else if (value === true) element.setAttribute(name, "");
      else if (value !== false && value !== null && value !== undefined) element.setAttribute(name, value);
    }
    element.append(...children);
    return element;
  }

  function escape(text) {
    const code = text.codePointAt(0);
    const digits = code.toString(16);
    if (code < 256) return `\\x${digits.padStart(2, "0")}`;
    return code > 0xffff ? `\\u{${digits}}` : `\\u${digits.padStart(4, "0")}`;
  }

  // As one string, for labels and cells.
  const safe = (text) => String(text).replace(HIDDEN, escape).replace(/\n/g, "\u21b5").replace(/\t/g, "\u21e5");

  // Appends a text; hidden characters become elements that keep the original.
  function append(parent, text) {
    let at = 0;
    HIDDEN.lastIndex = 0;
    for (const match of text.matchAll(HIDDEN)) {
      if (match.index > at) parent.append(text.slice(at, match.index));
      const mark = el(
        "span",
        { class: "ctl", title: "a character that would not be seen" },
        [escape(match[0])],
      );
      mark.dataset.original = match[0];
      parent.append(mark);
      at = match.index + match[0].length;
    }
    if (at < text.length) parent.append(text.slice(at));
    return parent;
  }

  const inline = (text, attributes = {}) => append(el("bdi", attributes), text);

  // Appends a text of any length: a part at once, and a button for more.
  function long(parent, text, add = append) {
    let at = 0;
    const more = el("button", { type: "button", class: "more" });
    const next = () => {
      let end = Math.min(text.length, at + PART);
      if (end < text.length && /[\ud800-\udbff]/.test(text[end - 1])) end++;
      const part = el("span");
      add(part, text.slice(at, end));
      more.remove();
      parent.append(part);
      at = end;
      if (at < text.length) {
        const left = text.length - at;
        more.textContent = `show ${count(Math.min(PART, left))} more characters (${count(left)} left)`;
        parent.append(more);
      }
    };
    more.addEventListener("click", (event) => {
      event.stopPropagation();
      next();
    });
    next();
    return parent;
  }

  const count = (value) => value.toLocaleString("en");

  // A number with so many significant digits.
  function number(value, digits = 4) {
    if (value === null || value === undefined) return "–";
    if (!Number.isFinite(value)) return String(value);
    if (Number.isInteger(value)) return String(value);
    return String(Number(value.toPrecision(digits)));
  }

  const truth = (value) => (value === null ? "unknown" : value ? "yes" : "no");

  function link(href, text, attributes = {}) {
    return append(el("a", { href, ...attributes }), text);
  }

  // A list of names and values; a value is a text or a node.
  function facts(pairs) {
    return el("dl", { class: "facts" }, pairs.filter(Boolean).flatMap(([name, value]) => [
      el(
        "div",
        {},
        [el("dt", {}, [name]), el("dd", {}, [typeof value === "string" ? inline(value) : value])],
      ),
    ]));
  }

  return { el, safe, append, inline, long, count, number, truth, link, facts };
})();
