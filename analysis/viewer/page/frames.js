// Reads frames: deflated blocks of columns, see analysis/viewer/frames.py.
"use strict";

const frames = (() => {
  const NULL16 = 0xfe00;
  const WIDTHS = { u8: Uint8Array, u16: Uint16Array, u32: Uint32Array, i32: Int32Array, f64: Float64Array };

  // Every float16 as a number; a NaN with the sign is null, which callers test by its bits.
  const HALVES = new Float32Array(65536);
  for (let bits = 0; bits < 65536; bits++) {
    const exponent = (bits >> 10) & 31;
    const fraction = bits & 1023;
    let value = exponent === 0 ? fraction * 2 ** -24 : (1 + fraction / 1024) * 2 ** (exponent - 15);
    if (exponent === 31) value = fraction ? NaN : Infinity;
    HALVES[bits] = bits & 0x8000 ? -value : value;
  }

  // A column of float16; get() returns a number or null.
  class Halves {
    constructor(high, low) {
      this.bits = new Uint16Array(high.length);
      for (let i = 0; i < high.length; i++) this.bits[i] = (high[i] << 8) | low[i];
    }

    get(index) {
      const bits = this.bits[index];
      return bits === NULL16 ? null : HALVES[bits];
    }
  }

  function unpack(buffer) {
    const length = new DataView(buffer).getUint32(0, true);
    const header = JSON.parse(new TextDecoder().decode(new Uint8Array(buffer, 4, length)));
    const start = 4 + length;
    const columns = {};
    for (const [name, [kind, at, count]] of Object.entries(header.columns)) {
      if (kind === "f16") {
        columns[name] = new Halves(
          new Uint8Array(buffer, start + at, count),
          new Uint8Array(buffer, start + at + count, count),
        );
      } else {
        columns[name] = new WIDTHS[kind](buffer, start + at, count);
      }
    }
    return { ...header.json, columns };
  }

  async function inflate(bytes) {
    const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate"));
    return unpack(await new Response(stream).arrayBuffer());
  }

  function fromBase64(text) {
    if (Uint8Array.fromBase64) return Uint8Array.fromBase64(text);
    const binary = atob(text);
    const bytes = new Uint8Array(binary.length);
    for (let i = 0; i < binary.length; i++) bytes[i] = binary.charCodeAt(i);
    return bytes;
  }

  return { inflate, fromBase64 };
})();
