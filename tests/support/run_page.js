// Run the script of a run's page in a document of a few elements, and print what it shows.
// The arguments: files with the page and with the log, and the length of the pieces that arrive.
const fs = require("fs"), vm = require("vm");
const [page, log] = process.argv.slice(2, 4).map((name) => fs.readFileSync(name));
const pieceLength = Number(process.argv[4]);

class Text {
  constructor(data) { this.data = data; }
  get place() { return this.parent.children.indexOf(this); }
  get previousSibling() { return this.parent.children[this.place - 1] ?? null; }
  before(text) { this.parent.insert(this.place, text); }
  remove() { this.parent.children.splice(this.place, 1); }
}
class Element {
  children = []; hidden = true; scrollTop = 0; clientHeight = 0; scrollHeight = 0;
  get firstChild() { return this.children[0] ?? null; }
  get textContent() { return this.children.map((text) => text.data).join(""); }
  set textContent(text) { this.children = []; this.append(text); }
  append(text) { this.insert(this.children.length, text); }
  insert(place, text) {
    const node = text instanceof Text ? text : new Text(String(text));
    node.parent = this;
    this.children.splice(place, 0, node);
  }
}
const elements = {};
const document = {
  getElementById: (id) => elements[id] ??= new Element(),
  createTextNode: (text) => new Text(text),
};
const facts = {state: "succeeded", started_at: "2026-01-01T00:00:00Z", ended_at: "2026-01-01T00:12:03Z"};
async function fetch(address) {
  if (address.endsWith(".json")) return {json: async () => facts};
  let position = Number(/offset=(\d+)/.exec(address)[1]);
  const read = async () => {
    const value = log.subarray(position, position += pieceLength);
    return {value, done: value.length === 0};
  };
  return {ok: true, headers: new Map([["Fyre-Log-Start", position]]), body: {getReader: () => ({read})}};
}
const script = /<script[^>]*>([^]*)<\/script>/.exec(page)[1];
vm.runInNewContext(script, {document, fetch, location: {pathname: "/runs/x"}, setInterval() {}, clearInterval() {}, setTimeout, TextDecoder});
process.once("beforeExit", () => {
  const shown = Object.entries(elements).map(([id, one]) => [id, one.hidden ? null : one.textContent]);
  elements.log.hidden = false;
  console.log(JSON.stringify({...Object.fromEntries(shown), log: elements.log.textContent}));
});
