/**
 * Markdown as elements: headings, paragraphs, lists, quotes, code, tables, links, images, emphasis.
 * Everything ends as a text node or an attribute; HTML in it is shown as the text that it is, and
 * links lead to http, https and mailto alone.
 */

import { el } from "./dom.js";

/** Levels of quotes and lists that are followed. */
const DEPTH = 12;

/** @param {string} text @param {string} base href that links are relative to */
export function renderMarkdown(text, base) {
  const root = document.createDocumentFragment();
  const lines = text.replace(/^\ufeff/, "").split(/\r\n|\r|\n/);
  root.append(...blocks(lines, new URL(base, location.href), 0));
  return root;
}

const FENCE = /^ {0,3}(`{3,}|~{3,})/;
const HEADING = /^ {0,3}(#{1,6})(?:\s+(.*?))?(?:\s#*)?\s*$/;
const RULE = /^ {0,3}([-*_])(?:\s*\1){2,}\s*$/;
const QUOTE = /^ {0,3}> ?/;
const ITEM = /^( {0,3})([-*+]|\d{1,9}[.)])(\s+|$)/;
const TABLE = /^ *\|?(?: *:?-+:? *\|)+(?: *:?-+:?)? *$/;

/** @param {string[]} lines @param {URL} base @param {number} depth @returns {HTMLElement[]} */
function blocks(lines, base, depth) {
  /** @type {HTMLElement[]} */
  const found = [];
  let at = 0;
  const takeWhile = (test) => {
    const from = at;
    while (at < lines.length && test(lines[at], at - from)) at++;
    return lines.slice(from, at);
  };
  while (at < lines.length) {
    const line = lines[at];
    const heading = HEADING.exec(line);
    const item = ITEM.exec(line);
    const fence = FENCE.exec(line);
    if (!line.trim()) at++;
    else if (fence) found.push(code(takeWhile((one, index) => index === 0 || !one.trim().startsWith(fence[1])), () => at++));
    else if (heading) {
      found.push(el(`h${heading[1].length}`, {}, ...inline(heading[2] ?? "", base)));
      at++;
    } else if (RULE.test(line)) {
      found.push(el("hr"));
      at++;
    } else if (QUOTE.test(line) && depth < DEPTH) {
      const inner = takeWhile((one) => QUOTE.test(one)).map((one) => one.replace(QUOTE, ""));
      found.push(el("blockquote", {}, ...blocks(inner, base, depth + 1)));
    } else if (item && depth < DEPTH) {
      found.push(list(takeWhile((one, index) => belongs(one, lines[at - 1], index)), base, depth));
    } else if (line.includes("|") && TABLE.test(lines[at + 1] ?? "")) {
      found.push(table(takeWhile((one) => one.includes("|")), base));
    } else {
      const text = takeWhile((one, index) => index === 0 || (one.trim() !== "" && !starts(one)));
      found.push(el("p", {}, ...inline(text.map((one) => one.trim()).join("\n"), base)));
    }
  }
  return found;
}

/** @param {string} line @returns {boolean} whether it ends a paragraph */
function starts(line) {
  return [FENCE, HEADING, RULE, QUOTE, ITEM].some((one) => one.test(line));
}

/** @param {string} line @param {string} before @param {number} index whether it goes on with a list */
function belongs(line, before, index) {
  if (index === 0 || ITEM.test(line) || /^ {2,}\S/.test(line)) return true;
  return line.trim() === "" ? before.trim() !== "" : before.trim() !== "" && !starts(line);
}

/** @param {string[]} lines with the opening fence @param {() => void} skip the closing one */
function code(lines, skip) {
  skip();
  return el("pre", {}, el("code", { text: lines.slice(1).join("\n") }));
}

/** @param {string[]} lines @param {URL} base @param {number} depth */
function list(lines, base, depth) {
  const first = ITEM.exec(lines[0]);
  const isOrdered = /\d/.test(first[2]);
  /** @type {string[][]} */
  const items = [];
  for (const line of lines) {
    const mark = ITEM.exec(line);
    if (mark && mark[1].length <= first[1].length + 1) items.push([line.slice(mark[0].length).replace(/^\[([ xX])\] /, (_, done) => (done === " " ? "☐ " : "☑ "))]);
    else items.at(-1)?.push(line.replace(/^ {1,4}/, ""));
  }
  const start = isOrdered ? parseInt(first[2], 10) : 1;
  return el(isOrdered ? "ol" : "ul", { start: start === 1 ? undefined : start },
    ...items.map((one) => el("li", {}, ...tight(blocks(one, base, depth + 1)))));
}

/** @param {HTMLElement[]} nodes @returns {Node[]} one paragraph alone stands without its element */
function tight(nodes) {
  return nodes[0]?.tagName === "P" ? [...nodes[0].childNodes, ...nodes.slice(1)] : nodes;
}

/** @param {string[]} lines @param {URL} base */
function table([head, , ...rows], base) {
  const cells = (row) => row.trim().replace(/^\||\|$/g, "").split("|").map((one) => one.trim());
  const line = (tag, row) =>
    el("tr", {}, ...cells(row).map((one) => el(tag, {}, ...inline(one, base))));
  return el("table", {}, el("thead", {}, line("th", head)), el("tbody", {}, ...rows.map((row) => line("td", row))));
}

const INLINE = new RegExp(
  [
    "(?<tick>`+)(?<code>.+?)\\k<tick>(?!`)",
    "(?<image>!)?\\[(?<label>[^\\[\\]]*)\\]\\(\\s*<?(?<target>[^\\s()<>]*(?:\\([^\\s()<>]*\\)[^\\s()<>]*)*)>?(?:\\s+\"[^\"]*\")?\\s*\\)",
    "<(?<auto>(?:https?://|mailto:)[^\\s<>]+)>",
    "(?<mark>\\*\\*|~~|\\*|(?<!\\w)__?)(?=\\S)(?<inner>.+?)(?<=\\S)\\k<mark>(?!(?<=_)\\w)",
    "\\\\(?<escaped>[\\\\`*_{}\\[\\]()#+.!|<>~-])",
  ].join("|"),
  "s",
);
const MARKS = { "**": "strong", __: "strong", "~~": "del", "*": "em", _: "em" };

/** @param {string} text @param {URL} base @returns {(Node | string)[]} */
function inline(text, base) {
  /** @type {(Node | string)[]} */
  const found = [];
  let rest = text;
  for (let match = INLINE.exec(rest); match; match = INLINE.exec(rest)) {
    found.push(rest.slice(0, match.index), ...span(match.groups, base));
    rest = rest.slice(match.index + match[0].length);
  }
  return [...found, rest];
}

/** @param {Record<string, string | undefined>} part @param {URL} base @returns {(Node | string)[]} */
function span(part, base) {
  if (part.code !== undefined) return [el("code", { text: part.code.trim() })];
  if (part.escaped !== undefined) return [part.escaped];
  if (part.mark !== undefined) return [el(MARKS[part.mark], {}, ...inline(part.inner ?? "", base))];
  const url = safeUrl(part.auto ?? part.target ?? "", base);
  const label = part.label ?? part.auto ?? "";
  // An image from elsewhere would tell who reads this.
  if (part.image) return url?.origin === location.origin ? [el("img", { src: url.href, alt: label, loading: "lazy" })] : [label];
  if (!url) return [label];
  return [el("a", { href: url.href, target: "_blank", rel: "noopener noreferrer" }, ...inline(label, base))];
}

/** @param {string} target @param {URL} base @returns {URL | null} */
function safeUrl(target, base) {
  const url = URL.parse(target, base);
  return url && ["http:", "https:", "mailto:"].includes(url.protocol) ? url : null;
}
