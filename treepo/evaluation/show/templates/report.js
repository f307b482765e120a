"use strict";
// The browser of samples. The first part knows no page, so that it also runs where there is none; the second shows what
// the first finds. Text of a model only ever becomes the text of a node.

const ROW = { question: 0, sampling: 1, index: 2, correct: 3, tokens: 4, finish: 5, answer: 6, verdict: 7, text: 8, seed: 9, nodes: 10 };
const QUESTION = { benchmark: 0, id: 1, prompt: 2, truths: 3 };
const OPEN_PIECES = 48;

async function unpack(base64) {
  const bytes = Uint8Array.from(atob(base64), (letter) => letter.charCodeAt(0));
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
  return new Response(stream).json();
}

/** The piece that holds a text: the last one that starts at its number or before. */
function pieceOf(starts, text) {
  let low = 0;
  let high = starts.length - 1;
  while (low < high) {
    const middle = (low + high + 1) >> 1;
    if (starts[middle] <= text) low = middle;
    else high = middle - 1;
  }
  return low;
}

/** Texts by number. Unpacked pieces are kept, the longest unused one goes first. */
function textStore(starts, readPiece, limit = OPEN_PIECES) {
  const open = new Map();
  return async function text(number) {
    const piece = pieceOf(starts, number);
    const texts = open.get(piece) ?? unpack(readPiece(piece));
    open.delete(piece);
    open.set(piece, texts);
    if (open.size > limit) open.delete(open.keys().next().value);
    return (await texts)[number - starts[piece]];
  };
}

/** Numbers of the rows that a filter leaves; an empty entry of it leaves all. */
function chosenRows(data, filter) {
  const chosen = [];
  data.rows.forEach((row, number) => {
    const question = data.questions[row[ROW.question]];
    const fits =
      (filter.benchmark === "" || data.benchmarks[question[QUESTION.benchmark]] === filter.benchmark) &&
      (filter.sampling === "" || data.samplings[row[ROW.sampling]] === filter.sampling) &&
      (filter.verdict === "" || (filter.verdict === "right") === (row[ROW.correct] === 1)) &&
      (filter.finish === "" || row[ROW.finish] === filter.finish);
    if (fits) chosen.push(number);
  });
  return chosen;
}

/**
 * Those of some rows whose question, prompt, answer, truth or response holds the words; case does not matter.
 * `step` hears after every hundred rows how many are done, and ends the search by returning false.
 */
async function searchRows(data, numbers, words, text, step = async () => true) {
  const wanted = words.toLowerCase();
  const found = [];
  const prompts = new Map();
  for (const [done, number] of numbers.entries()) {
    if (done % 100 === 99 && !(await step(done))) return null;
    const row = data.rows[number];
    const question = data.questions[row[ROW.question]];
    if (!prompts.has(question)) {
      const parts = [question[QUESTION.id], ...question[QUESTION.truths], await text(question[QUESTION.prompt])];
      prompts.set(question, parts.some((part) => part.toLowerCase().includes(wanted)));
    }
    const hit =
      prompts.get(question) ||
      (row[ROW.answer] ?? "").toLowerCase().includes(wanted) ||
      (await text(row[ROW.text])).toLowerCase().includes(wanted);
    if (hit) found.push(number);
  }
  return found;
}

/** Numbers of all rows of the same question, this one included. */
function siblings(data, number) {
  const question = data.rows[number][ROW.question];
  return [...data.rows.keys()].filter((other) => data.rows[other][ROW.question] === question);
}

function start() {
  const PAGE = 50;
  const at = (id) => document.getElementById(id);
  const data = JSON.parse(at("index").textContent);
  const text = textStore(data.starts, (piece) => at(`piece-${piece}`).textContent);
  const fields = ["benchmark", "sampling", "verdict", "finish"];
  let shown = [];
  let first = 0;
  let selected = null;
  let query = 0;

  function element(tag, words, mark) {
    const made = document.createElement(tag);
    made.textContent = words;
    if (mark) made.className = mark;
    return made;
  }

  function fill(id, values) {
    for (const value of values) {
      const option = element("option", value);
      option.value = value;
      at(id).append(option);
    }
  }

  function showRows() {
    const body = at("rows");
    body.replaceChildren();
    for (const number of shown.slice(first, first + PAGE)) {
      const row = data.rows[number];
      const question = data.questions[row[ROW.question]];
      const line = document.createElement("tr");
      const open = element("button", question[QUESTION.id]);
      open.type = "button";
      open.addEventListener("click", () => select(number));
      const cell = document.createElement("td");
      cell.append(open);
      line.append(
        element("td", data.benchmarks[question[QUESTION.benchmark]]),
        cell,
        element("td", data.samplings[row[ROW.sampling]]),
        element("td", row[ROW.index]),
        element("td", row[ROW.correct] ? "right" : "wrong", row[ROW.correct] ? "right" : "wrong"),
        element("td", row[ROW.tokens]),
        element("td", row[ROW.finish]),
        element("td", row[ROW.answer] ?? "–", "answer"),
      );
      if (number === selected) line.setAttribute("aria-selected", "true");
      body.append(line);
    }
    const last = Math.min(first + PAGE, shown.length);
    at("count").textContent = shown.length ? `${first + 1} to ${last} of ${shown.length} samples` : "no sample";
    at("previous").disabled = first === 0;
    at("next").disabled = last >= shown.length;
  }

  async function select(number) {
    selected = number;
    showRows();
    const row = data.rows[number];
    const question = data.questions[row[ROW.question]];
    const [prompt, response] = await Promise.all([text(question[QUESTION.prompt]), text(row[ROW.text])]);
    if (selected !== number) return;
    at("sample").hidden = false;
    at("sample-title").textContent = `${data.benchmarks[question[QUESTION.benchmark]]}, ${question[QUESTION.id]}`;
    at("prompt").textContent = prompt;
    at("response").textContent = response;
    const facts = {
      verdict: `${row[ROW.correct] ? "right" : "wrong"}, decided by ${row[ROW.verdict]}`,
      answer: row[ROW.answer] ?? "none",
      "ground truth": question[QUESTION.truths].join("  or  "),
      sampling: `${data.samplings[row[ROW.sampling]]}, sample ${row[ROW.index]}, seed ${row[ROW.seed]}`,
      response: `${row[ROW.tokens]} tokens, ended by ${row[ROW.finish]}`,
      ...(row[ROW.nodes] ? { path: row[ROW.nodes] } : {}),
    };
    at("facts").replaceChildren(
      ...Object.entries(facts).flatMap(([name, value]) => [element("dt", name), element("dd", value)]),
    );
    at("siblings").replaceChildren(
      ...siblings(data, number).map((other) => {
        const sibling = data.rows[other];
        const words = `${data.samplings[sibling[ROW.sampling]]} ${sibling[ROW.index]}`;
        const chip = element("button", words, sibling[ROW.correct] ? "right" : "wrong");
        chip.type = "button";
        chip.title = sibling[ROW.correct] ? "right" : "wrong";
        if (other === number) chip.setAttribute("aria-current", "true");
        chip.addEventListener("click", () => select(other));
        return chip;
      }),
    );
  }

  async function update() {
    const mine = ++query;
    const filter = Object.fromEntries(fields.map((name) => [name, at(name).value]));
    let found = chosenRows(data, filter);
    const words = at("search").value.trim();
    if (words !== "") {
      const total = found.length;
      found = await searchRows(data, found, words, text, async (done) => {
        at("count").textContent = `searching, ${done} of ${total} samples …`;
        await new Promise((resolve) => setTimeout(resolve));
        return mine === query;
      });
    }
    if (mine !== query) return;
    shown = found;
    first = 0;
    showRows();
  }

  function turn(by) {
    first += by;
    at("list").scrollTop = 0;
    showRows();
  }

  fill("benchmark", data.benchmarks);
  fill("sampling", data.samplings);
  fill("finish", [...new Set(data.rows.map((row) => row[ROW.finish]))].sort());
  for (const name of fields) at(name).addEventListener("change", update);
  let waiting;
  at("search").addEventListener("input", () => {
    clearTimeout(waiting);
    waiting = setTimeout(update, 200);
  });
  at("previous").addEventListener("click", () => turn(-PAGE));
  at("next").addEventListener("click", () => turn(PAGE));
  at("browser").hidden = false;
  update();
}

if (typeof document !== "undefined") start();
