// The text of a trajectory: a part per node, with what it shares, its turns and what was observed.

function fact(name, value) {
  const both = document.createElement("div");
  both.append(element("dt", name), element("dd", value));
  return both;
}

/** The range of a quantity over the tokens of a trajectory; null where tokens hold nothing of it. */
function tokenRange(trajectory, quantity) {
  const values = trajectory.path.flatMap((node) =>
    Array.from({ length: node.written }, (_, token) => tokenValue(node, token, trajectory, quantity)),
  ).filter((value) => value !== null);
  return values.length ? QUANTITIES[quantity].range(values) : null;
}

/** The tokens of a node from one place to another, each as an element of its own. */
function tokenMarks(node, from, to, trajectory, quantity, shade) {
  const marks = [];
  for (let token = from; token < to; token++) {
    if (node.pieces[token] === null && marks.length) continue;
    const piece = node.pieces[token];
    const mark = element("span", piece ? piece.replaceAll("\n", "↵\n") : `‹${node.tokens?.[token] ?? token}›`, "token");
    mark.dataset.token = token;
    const colour = shade && shade(tokenValue(node, token, trajectory, quantity));
    if (colour) {
      mark.style.background = colour;
      mark.style.color = inkOn(colour);
    }
    marks.push(mark);
  }
  return marks;
}

/** The parts of a node's text: what the model wrote, and what was observed. */
function nodeTexts(node, trajectory, quantity, shade) {
  const texts = [];
  if (node.pieces) {
    for (const [from, to, name] of [[0, node.written, ""], [node.written, node.length, "observation"]]) {
      if (from === to) continue;
      const part = element("div", "", `text ${name}`);
      if (name) part.append(element("span", "observation", "label"));
      part.append(...tokenMarks(node, from, to, trajectory, quantity, shade));
      texts.push(part);
    }
  } else {
    const text = nodeText(node);
    texts.push(element("div", text ?? "the text of this node alone was not kept", text === null ? "note" : "text"));
  }
  return texts;
}

function nodePart(tree, node, { trajectory, scale, shade, select }) {
  const part = element("section", "", "segment");
  part.dataset.node = node.number;
  const colour = scale.colour(node.values[scale.quantity]);
  if (colour) part.style.borderLeftColor = colour;
  const head = element("div", "", "head");
  const name = element("button", `node ${node.id}`, "plain");
  name.type = "button";
  name.addEventListener("click", () => select(node));
  const count = node.through.length;
  const shared = element("span", count > 1 ? `shared by ${count} of ${tree.trajectories.length}` : "its own", count > 1 ? "shared" : "");
  head.append(name, element("span", `depth ${node.depth} · ${tokenSpan(node)}`), shared);
  if (node.children.length > 1) head.append(element("span", `● forks into ${node.children.length}`));
  if (node.fallbackBegins) head.append(element("span", "↺ fallback begins"));
  if (scale.range) head.append(element("span", `${scale.short} ${number(node.values[scale.quantity], scale.signed)}`));
  part.append(head, ...nodeTexts(node, trajectory, scale.quantity, shade));
  return part;
}

function promptPart(tree) {
  const part = element("details", "", "segment prompt");
  part.dataset.node = 0;
  part.open = tree.prompt.length < 400;
  part.append(element("summary", "prompt"), element("div", tree.prompt, "text"));
  return part;
}

/** What is known of a node, or of the whole tree for the prompt, and of the trajectory that is read. */
function factsOf(tree, node, trajectory) {
  const facts = [];
  for (const [quantity, { short, signed }] of Object.entries(QUANTITIES)) {
    const known = tree.nodes.some((other) => other.values[quantity] !== null);
    facts.push(fact(short, known ? number(node.values[quantity], signed) : "not kept"));
  }
  if (node.versions) facts.push(fact("weights", [...new Set(node.versions)].join(" to ")));
  const ended = trajectory.reason.replaceAll("_", " ");
  facts.push(fact("ended", trajectory.finishStep === undefined ? ended : `${ended}, step ${trajectory.finishStep}`));
  for (const [name, value] of Object.entries(trajectory.fields)) facts.push(fact(name, value ?? "none"));
  return facts;
}

let written = null;

/** Shows a trajectory with one of its nodes selected; the text is made anew where trajectory or colours are other ones. */
function showPath(tree, { selected, trajectory, scale, select }) {
  const at = (id) => document.getElementById(id);
  if (written?.trajectory !== trajectory || written.scale !== scale) {
    written = { trajectory, scale };
    writePath(tree, { trajectory, scale, select });
  }
  at("facts").replaceChildren(...factsOf(tree, selected, trajectory));
  for (const part of at("segments").querySelectorAll(".segment")) part.classList.toggle("selected", Number(part.dataset.node) === selected.number);
  const chosen = at("segments").querySelector(".selected");
  if (!chosen) return;
  if (!selected.parent) chosen.open = true;
  const [box, frame] = [chosen.getBoundingClientRect(), at("segments").getBoundingClientRect()];
  if (box.top < frame.top || box.bottom > frame.bottom) at("segments").scrollTop += box.top - frame.top - 40;
}

function writePath(tree, { trajectory, scale, select }) {
  const at = (id) => document.getElementById(id);
  const range = tokenRange(trajectory, scale.quantity);
  const shade = range && ((value) => (value === null ? null : mixed(scale.stops, (value - range[0]) / (range[1] - range[0] || 1))));
  const origin = trajectory.fallback ? ", from a fallback" : "";
  at("path-title").textContent = `Trajectory ${trajectory.number + 1} of ${tree.trajectories.length}${origin}`;
  at("token").textContent = range
    ? `Tokens are shaded from ${number(range[0])} to ${number(range[1])}; point at one for its numbers.`
    : "Point at a token for its numbers.";
  const parts = [promptPart(tree)];
  const talks = tree.nodes.some((node) => node.observed);
  let turn = 1;
  for (const node of trajectory.path) {
    if (talks && (!node.parent.parent || node.parent.observed)) parts.push(element("h3", `turn ${turn++}`));
    if (trajectory.text === undefined) parts.push(nodePart(tree, node, { trajectory, scale, shade, select }));
  }
  if (trajectory.text !== undefined) {
    parts.push(element("p", "Where nodes begin in the text was not kept; this is the whole response.", "note"), element("div", trajectory.text, "text"));
  }
  at("segments").replaceChildren(...parts);
  at("segments").scrollTop = 0;
}

/** The numbers of a token, as one line. */
function tokenWords(node, token, trajectory) {
  const parts = [`token ${node.tokens?.[token] ?? ""}`.trim(), `position ${node.start + token}`];
  if (token >= node.written) return [...parts, "observed"].join(", ");
  const own = trajectory.advantages?.[node.depth - 1];
  if (node.logProbs) parts.push(`log-prob ${number(node.logProbs[token])}`);
  if (node.entropies) parts.push(`entropy ${number(node.entropies[token])}`);
  if (own !== undefined) parts.push(`advantage ${number(Array.isArray(own) ? own[token] : own, true)}`);
  return parts.join(", ");
}

/** Marks the words in the texts, where the browser can mark without changing them. */
function markWords(place, words) {
  if (!("highlights" in CSS)) return;
  CSS.highlights.delete("found");
  if (words === "") return;
  const ranges = [];
  for (const part of place.querySelectorAll(".text")) {
    const texts = [];
    const walker = document.createTreeWalker(part, NodeFilter.SHOW_TEXT);
    while (walker.nextNode()) texts.push(walker.currentNode);
    const whole = texts.map((text) => text.data).join("").toLowerCase();
    const locate = (offset) => {
      let place = 0;
      while (offset > texts[place].length) offset -= texts[place++].length;
      return [texts[place], offset];
    };
    for (let found = whole.indexOf(words.toLowerCase()); found >= 0; found = whole.indexOf(words.toLowerCase(), found + words.length)) {
      const range = new Range();
      range.setStart(...locate(found));
      range.setEnd(...locate(found + words.length));
      ranges.push(range);
    }
  }
  CSS.highlights.set("found", new Highlight(...ranges));
}
