// Talking to the server: the model's state, the draft format, and a fill as a stream of messages.
const GONE = "The Lacuna server does not answer; is it still running? Your draft is kept here.";
const at = (path) => new URL(path, document.baseURI);

async function ask(path, options) {
  let response;
  try {
    response = await fetch(at(path), options);
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Error(GONE);
  }
  if (response.status === 503) throw new Error("Too many runs wait for this server already; try again in a moment.");
  if (!response.ok) throw new Error(`The Lacuna server refused this (${response.status} ${response.statusText}).`);
  return response;
}
const post = (path, body, signal) => ask(path, {
  method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(body), signal,
});

/** The text of one of the page's own files. */
export const file = async (name) => (await ask(`lacuna/static/${name}`)).text();
export const status = async () => (await ask("lacuna/status")).json();
/** {models, free, downloads}: the models to choose from, the memory for them, and how their downloads stand. */
export const models = async () => (await ask("lacuna/models")).json();
/** `dtype`: int8 or int4 where the model should take less memory. */
export const useModel = (name, dtype = "") => post(`lacuna/models/use${dtype && `/${dtype}`}`, name);
export const startDownload = (name) => post("lacuna/models/download", name);
export const cancelDownload = (name) => post("lacuna/models/cancel", name);
/** {draft} or {error, line, column} of segments. */
export const printDraft = async (segments, signal) => (await post("lacuna/draft", segments, signal)).json();
/** {segments} or {error, line, column} of a draft's text. */
export const readDraft = async (text) => (await post("lacuna/segments", text)).json();

/** The messages of one fill, which comes out otherwise than those `seen` if it can, with the guesses for open places. `start`: the cells
 * of a run that it goes on from. Aborting the signal stops the engine. */
export async function* fillStream(draft, settings, seen, start, signal) {
  // The engine stops when whoever reads goes away. So a run that may have begun is always opened, and only then left.
  const leave = new AbortController();
  const opened = post("gradio_api/call/fill", { data: [draft, settings, false, seen, true, start] }).then((response) => response.json())
    .then(({ event_id: id }) => ask(`gradio_api/call/fill/${id}`, { signal: leave.signal }));
  const stopped = new Promise((_, reject) => signal.addEventListener("abort", () => {
    reject(signal.reason);
    opened.then(() => leave.abort(), () => {});
  }));
  const response = await Promise.race([opened, stopped]);
  let last = null;
  try {
    for await (const { event, data } of events(response.body)) {
      if (event === "error") throw new Error(typeof data === "string" && data ? data : "The server stopped this run.");
      if (event === "generating" && data) yield (last = data[0]);
      if (event === "complete" && data?.[0] && !last?.done && !last?.error) yield (last = data[0]);
    }
  } catch (error) {
    throw error instanceof TypeError ? new Error(GONE) : error;
  }
  if (!last?.done && !last?.error) throw new Error(GONE);
}

async function* events(body) {
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  let buffer = "";
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return;
    buffer += value;
    for (let end; (end = buffer.indexOf("\n\n")) >= 0; buffer = buffer.slice(end + 2)) {
      const field = (name) => buffer.slice(0, end).split("\n").find((line) => line.startsWith(name))?.slice(name.length);
      yield { event: field("event: "), data: JSON.parse(field("data: ") ?? "null") };
    }
  }
}
