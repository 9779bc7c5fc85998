/**
 * Reads multistatus answers in their JSON form, result by result while they come in: what has arrived
 * is shown before the rest is sent.
 */

/**
 * @typedef {string | null | {content?: string | Element[], namespace?: string, name?: string}} Value
 *   of a property: a text, nothing, or elements
 * @typedef {string | {namespace: string, name: string, content?: string | Element[]}} Element
 * @typedef {object} Result
 * @property {string} href
 * @property {number} [status]
 * @property {{status: number, properties: Record<string, Record<string, Value>>}[]} [propstat]
 */

const HEAD = '{"results":[';
/** Where a result ends and the next begins. No text can hold it: quotes in it are escaped. */
const BETWEEN = '},{"href":';

/**
 * @param {Response} response
 * @returns {AsyncGenerator<Result[]>} in pieces. Throws where it breaks off.
 */
export async function* results(response) {
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let text = "";
  for (;;) {
    const { done, value } = await reader.read();
    if (done) break;
    text += value;
    const cut = text.lastIndexOf(BETWEEN);
    if (cut < 0) continue;
    yield JSON.parse(`${text.slice(0, cut + 1)}]}`).results;
    text = HEAD + text.slice(cut + 2);
  }
  yield JSON.parse(text).results;
}

/** @param {Result} result @returns {Record<string, Record<string, Value>>} what was found, by namespace */
export function propertiesOf({ propstat }) {
  return propstat?.find((one) => one.status === 200)?.properties ?? {};
}

/** @param {Value | Element | undefined} value @returns {Exclude<Element, string>[]} the elements in it */
export function elementsOf(value) {
  const content = value && typeof value === "object" ? value.content : undefined;
  return Array.isArray(content) ? content.filter((one) => typeof one === "object") : [];
}

/** @param {Value | Element | undefined} value @param {string} name @returns {Element | undefined} */
export function elementOf(value, name) {
  return elementsOf(value).find((one) => one.name === name);
}

/** @param {Value | Element | undefined} value @returns {string} all text in it */
export function textOf(value) {
  if (typeof value === "string") return value;
  const content = value?.content ?? "";
  return typeof content === "string" ? content : content.map(textOf).join("");
}
