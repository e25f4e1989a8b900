// Names in addresses, whatever characters they have; encodeURIComponent refuses half a surrogate pair.
"use strict";

const links = (() => {
  const HALF = /~|[\ud800-\udbff](?![\udc00-\udfff])|(?<![\ud800-\udbff])[\udc00-\udfff]/g;

  const encode = (text) =>
    encodeURIComponent(
      String(text).replace(HALF, (one) => `~${one.charCodeAt(0).toString(16).padStart(4, "0")}`),
    );

  // Returns null if the part of an address is no text.
  function decode(part) {
    try {
      return decodeURIComponent(part).replace(
        /~([0-9a-f]{4})/g,
        (_, code) => String.fromCharCode(parseInt(code, 16)),
      );
    } catch {
      return null;
    }
  }

  const to = (kind, ...parts) => `#/${[kind, ...parts].map(encode).join("/")}`;

  return { decode, to };
})();
