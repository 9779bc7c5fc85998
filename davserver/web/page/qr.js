/** QR codes (ISO/IEC 18004): bytes, error correction M, versions 1 to 20. Draws nothing. */

/** Error correction codewords of each block, and number of blocks, by version (table 9). */
const CORRECTION = [0, 10, 16, 26, 18, 24, 16, 18, 22, 22, 26, 30, 22, 22, 24, 24, 28, 28, 26, 26, 26];
const BLOCKS = [0, 1, 1, 1, 2, 2, 4, 4, 4, 5, 5, 5, 8, 9, 9, 10, 10, 11, 13, 14, 16];
/** Conditions of the eight masks (table 10). */
const MASKS = [
  (x, y) => (x + y) % 2,
  (_, y) => y % 2,
  (x) => x % 3,
  (x, y) => (x + y) % 3,
  (x, y) => (Math.floor(x / 3) + Math.floor(y / 2)) % 2,
  (x, y) => ((x * y) % 2) + ((x * y) % 3),
  (x, y) => (((x * y) % 2) + ((x * y) % 3)) % 2,
  (x, y) => (((x + y) % 2) + ((x * y) % 3)) % 2,
];

export class QrCode {
  /** @type {boolean[][]} true is dark; by row */
  modules;
  /** @type {boolean[][]} what no mask touches */
  #fixed;

  /** @param {string} text @returns {QrCode | null} null where it is too long */
  static of(text) {
    const data = new TextEncoder().encode(text);
    for (let version = 1; version < BLOCKS.length; version++) {
      const capacity = (totalCodewords(version) - CORRECTION[version] * BLOCKS[version]) * 8;
      if (4 + lengthBits(version) + 8 * data.length <= capacity) return new QrCode(version, data);
    }
    return null;
  }

  /** @param {number} version @param {Uint8Array} data */
  constructor(version, data) {
    this.version = version;
    this.size = 17 + 4 * version;
    this.modules = grid(this.size);
    this.#fixed = grid(this.size);
    this.#drawPatterns();
    this.#drawFormat(0);
    this.#drawData(interleave(version, codewords(version, data)));
    this.#mask(this.#bestMask());
  }

  /** @returns {string} path of an SVG: a square for each dark module */
  outline() {
    return this.modules.flatMap((row, y) => row.map((dark, x) => (dark ? `M${x} ${y}h1v1h-1z` : ""))).join("");
  }

  /** @param {number} x @param {number} y @param {boolean} dark */
  #set(x, y, dark) {
    if (x < 0 || y < 0 || x >= this.size || y >= this.size) return;
    this.modules[y][x] = dark;
    this.#fixed[y][x] = true;
  }

  #drawPatterns() {
    const { size, version } = this;
    for (let i = 0; i < size; i++) {
      this.#set(6, i, i % 2 === 0);
      this.#set(i, 6, i % 2 === 0);
    }
    for (const [x, y] of [[3, 3], [size - 4, 3], [3, size - 4]]) this.#drawSquare(x, y, 4, (d) => d !== 2 && d !== 4);
    const places = alignment(version);
    const last = places.length - 1;
    places.forEach((y, i) => places.forEach((x, j) => {
      const isFinder = (i === 0 && (j === 0 || j === last)) || (i === last && j === 0);
      if (!isFinder) this.#drawSquare(x, y, 2, (d) => d !== 1);
    }));
    if (version >= 7) this.#drawVersion();
  }

  /** @param {number} x @param {number} y @param {number} radius @param {(distance: number) => boolean} isDark */
  #drawSquare(x, y, radius, isDark) {
    for (let dy = -radius; dy <= radius; dy++) {
      for (let dx = -radius; dx <= radius; dx++) this.#set(x + dx, y + dy, isDark(Math.max(Math.abs(dx), Math.abs(dy))));
    }
  }

  #drawVersion() {
    const bits = (this.version << 12) | remainder(this.version, 12, 0x1f25);
    for (let i = 0; i < 18; i++) {
      const [a, b] = [this.size - 11 + (i % 3), Math.floor(i / 3)];
      this.#set(a, b, bit(bits, i));
      this.#set(b, a, bit(bits, i));
    }
  }

  /** @param {number} mask */
  #drawFormat(mask) {
    // Level M is 00.
    const bits = ((mask << 10) | remainder(mask, 10, 0x537)) ^ 0x5412;
    const { size } = this;
    for (let i = 0; i < 15; i++) {
      const near = i < 6 ? i : i < 8 ? i + 1 : 14 - i + Number(i === 8);
      if (i < 8) this.#set(8, near, bit(bits, i));
      else this.#set(near, 8, bit(bits, i));
      if (i < 8) this.#set(size - 1 - i, 8, bit(bits, i));
      else this.#set(8, size - 15 + i, bit(bits, i));
    }
    this.#set(8, size - 8, true);
  }

  /** @param {number[]} data In pairs of columns from the right, up and down in turn. */
  #drawData(data) {
    let next = 0;
    for (let right = this.size - 1; right >= 1; right -= 2) {
      if (right === 6) right = 5;
      const isUp = ((right + 1) & 2) === 0;
      for (let i = 0; i < this.size; i++) {
        const y = isUp ? this.size - 1 - i : i;
        for (const x of [right, right - 1]) {
          if (this.#fixed[y][x] || next >= data.length * 8) continue;
          this.modules[y][x] = bit(data[next >> 3], 7 - (next & 7));
          next++;
        }
      }
    }
  }

  /** @param {number} mask A second time takes it off. */
  #mask(mask) {
    this.#drawFormat(mask);
    for (let y = 0; y < this.size; y++) {
      for (let x = 0; x < this.size; x++) {
        if (!this.#fixed[y][x] && MASKS[mask](x, y) === 0) this.modules[y][x] = !this.modules[y][x];
      }
    }
  }

  #bestMask() {
    let best = { mask: 0, penalty: Infinity };
    for (let mask = 0; mask < MASKS.length; mask++) {
      this.#mask(mask);
      const penalty = penaltyOf(this.modules);
      if (penalty < best.penalty) best = { mask, penalty };
      this.#mask(mask);
    }
    return best.mask;
  }
}

/** @param {number} size @returns {boolean[][]} */
function grid(size) {
  return Array.from({ length: size }, () => new Array(size).fill(false));
}

/** @param {number} value @param {number} index */
function bit(value, index) {
  return ((value >>> index) & 1) === 1;
}

/** @param {number} value @param {number} bits @param {number} generator @returns {number} of the BCH code */
function remainder(value, bits, generator) {
  let rest = value;
  for (let i = 0; i < bits; i++) rest = (rest << 1) ^ ((rest >>> (bits - 1)) * generator);
  return rest;
}

/** @param {number} version @returns {number} bits of the character count */
function lengthBits(version) {
  return version < 10 ? 8 : 16;
}

/** @param {number} version @returns {number[]} centres of the alignment patterns (annex E) */
function alignment(version) {
  if (version === 1) return [];
  const count = Math.floor(version / 7) + 2;
  const step = Math.ceil((4 * version + 4) / (2 * count - 2)) * 2;
  const places = Array.from({ length: count - 1 }, (_, i) => 10 + 4 * version - i * step);
  return [6, ...places.reverse()];
}

/** @param {number} version @returns {number} */
function totalCodewords(version) {
  let modules = (16 * version + 128) * version + 64;
  if (version >= 2) {
    const count = Math.floor(version / 7) + 2;
    modules -= (25 * count - 10) * count - 55;
    if (version >= 7) modules -= 36;
  }
  return modules >> 3;
}

/** @param {number} version @param {Uint8Array} data @returns {number[]} mode, count, data, padding */
function codewords(version, data) {
  const capacity = totalCodewords(version) - CORRECTION[version] * BLOCKS[version];
  let bits = `0100${data.length.toString(2).padStart(lengthBits(version), "0")}`;
  for (const one of data) bits += one.toString(2).padStart(8, "0");
  bits += "0000".slice(0, capacity * 8 - bits.length);
  bits = bits.padEnd(Math.ceil(bits.length / 8) * 8, "0");
  const found = bits.match(/.{8}/g)?.map((one) => parseInt(one, 2)) ?? [];
  for (let pad = 0xec; found.length < capacity; pad ^= 0xec ^ 0x11) found.push(pad);
  return found;
}

/** @param {number} version @param {number[]} data @returns {number[]} with error correction */
function interleave(version, data) {
  const [blocks, length] = [BLOCKS[version], CORRECTION[version]];
  const short = Math.floor(data.length / blocks);
  const longFrom = blocks - (data.length % blocks);
  const divisor = divisorOf(length);
  const parts = [];
  for (let i = 0, at = 0; i < blocks; i++) {
    const part = data.slice(at, (at += short + Number(i >= longFrom)));
    parts.push({ data: part, correction: remainderOf(part, divisor) });
  }
  const found = [];
  for (let i = 0; i <= short; i++) for (const part of parts) if (i < part.data.length) found.push(part.data[i]);
  for (let i = 0; i < length; i++) for (const part of parts) found.push(part.correction[i]);
  return found;
}

/** @param {number} a @param {number} b @returns {number} product in GF(2^8) modulo 0x11d */
function multiply(a, b) {
  let product = 0;
  for (let i = 7; i >= 0; i--) product = (product << 1) ^ ((product >>> 7) * 0x11d) ^ (((b >>> i) & 1) * a);
  return product;
}

/** @param {number} degree @returns {number[]} coefficients of the Reed-Solomon generator */
function divisorOf(degree) {
  const found = [...new Array(degree - 1).fill(0), 1];
  for (let i = 0, root = 1; i < degree; i++, root = multiply(root, 2)) {
    for (let j = 0; j < degree; j++) found[j] = multiply(found[j], root) ^ (found[j + 1] ?? 0);
  }
  return found;
}

/** @param {number[]} data @param {number[]} divisor @returns {number[]} */
function remainderOf(data, divisor) {
  let rest = divisor.map(() => 0);
  for (const one of data) {
    const factor = one ^ rest[0];
    rest = [...rest.slice(1), 0].map((value, i) => value ^ multiply(divisor[i], factor));
  }
  return rest;
}

/** @param {boolean[][]} modules @returns {number} what makes it hard to read (7.8.3) */
function penaltyOf(modules) {
  const size = modules.length;
  const columns = modules.map((_, x) => modules.map((row) => row[x]));
  let penalty = 0;
  for (const line of [...modules, ...columns]) {
    const text = line.map(Number).join("");
    for (const run of text.match(/0{5,}|1{5,}/g) ?? []) penalty += run.length - 2;
    for (const finder of ["00001011101", "10111010000"]) {
      for (let at = text.indexOf(finder); at >= 0; at = text.indexOf(finder, at + 1)) penalty += 40;
    }
  }
  for (let y = 1; y < size; y++) {
    for (let x = 1; x < size; x++) {
      const one = modules[y][x];
      if (one === modules[y - 1][x] && one === modules[y][x - 1] && one === modules[y - 1][x - 1]) penalty += 3;
    }
  }
  const dark = modules.flat().filter(Boolean).length;
  return penalty + 10 * Math.floor(Math.abs((20 * dark) / (size * size) - 10));
}
