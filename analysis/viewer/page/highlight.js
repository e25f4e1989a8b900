// Highlights Python: wraps pieces of a text, and changes none of it.
"use strict";

const highlight = (() => {
  const KEYWORDS = new Set(
    ("and as assert async await break class continue def del elif else except finally for from global if import in is " +
      "lambda nonlocal not or pass raise return try while with yield True False None match case").split(" "),
  );
  const BUILTINS = new Set(
    ("abs all any bool dict divmod enumerate filter float format int isinstance iter len list map max min next open pow " +
      "print range repr reversed round set sorted str sum tuple type zip Exception ValueError").split(" "),
  );
  const PIECE = new RegExp(
    [
      "(?<comment>#[^\\n]*)",
      "(?<string>[rRbBfFuU]{0,2}(?:'''[\\s\\S]*?(?:'''|$)|\"\"\"[\\s\\S]*?(?:\"\"\"|$)|'(?:\\\\.|[^'\\\\\\n])*'?|\"(?:\\\\.|[^\"\\\\\\n])*\"?))",
      "(?<number>\\b\\d[\\d_]*(?:\\.[\\d_]*)?(?:[eE][+-]?\\d+)?j?\\b)",
      "(?<name>[A-Za-z_]\\w*)",
    ].join("|"),
    "g",
  );

  function python(parent, text) {
    let at = 0;
    for (const match of text.matchAll(PIECE)) {
      const { comment, string, number, name } = match.groups;
      let kind = comment ? "h-comment" : string ? "h-string" : number ? "h-number" : "";
      if (name) kind = KEYWORDS.has(name) ? "h-keyword" : BUILTINS.has(name) ? "h-builtin" : "";
      if (!kind) continue;
      if (match.index > at) shown.append(parent, text.slice(at, match.index));
      parent.append(shown.append(shown.el("span", { class: kind }), match[0]));
      at = match.index + match[0].length;
    }
    if (at < text.length) shown.append(parent, text.slice(at));
    return parent;
  }

  return { python };
})();
