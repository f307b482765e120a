// The drawing of a tree: the prompt at the left, tokens run to the right, every leaf has a line of its own.

const SVG = "http://www.w3.org/2000/svg";
const DRAWING = { line: 24, bar: 14, prompt: 16, left: 8, top: 6, gap: 12, least: 20, label: 190, smallest: 320 };

function shape(tag, attributes, ...inside) {
  const made = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  made.append(...inside);
  return made;
}

/** What a screen reader says of a node, and what hovering shows. */
function nodeWords(tree, node) {
  const parts = node.parent
    ? [`node ${node.id}`, `depth ${node.depth}`, tokenSpan(node)]
    : ["prompt"];
  if (node.observed) parts.push(`the last ${node.observed} observed`);
  parts.push(`${node.through.length} of ${tree.trajectories.length} trajectories`);
  if (node.children.length > 1) parts.push(`forks into ${node.children.length}`);
  if (node.fallbackBegins) parts.push("a fallback begins");
  for (const [quantity, { name, signed }] of Object.entries(QUANTITIES)) {
    if (node.values[quantity] !== null) parts.push(`${name} ${number(node.values[quantity], signed)}`);
  }
  return parts.join(", ");
}

/** What stands behind a leaf: verdict or reward, why it ended, and whether it came from a fallback. */
function leafWords(trajectory) {
  const { accuracy, reward } = trajectory;
  const verdict = accuracy === undefined ? null : accuracy >= 1 ? "✓" : accuracy <= 0 ? "✗" : `${Math.round(100 * accuracy)}%`;
  const parts = [verdict ?? "", reward === undefined || reward === accuracy ? "" : number(reward, true), trajectory.reason.replaceAll("_", " ")];
  return parts.filter((part) => part !== "").join(" ") + (trajectory.fallback ? " ↺" : "");
}

/** Draws a tree into an element; gives back what changes without drawing anew. */
function drawTree(tree, place, { byTokens, select }) {
  const { line, bar, prompt, left, top, gap, least, label, smallest } = DRAWING;
  const lines = layRows(tree);
  const room = Math.max(place.clientWidth - left - prompt - label, smallest);
  const reach = layColumns(tree, room, byTokens, least);
  const width = left + prompt + reach + label;
  const height = lines * line + 2 * top;
  const x = (value) => left + prompt + value;
  const y = (node) => top + (node.row + 0.5) * line;
  const forked = (node) => node.parent && node.parent.children.length > 1;
  const links = shape("g", { role: "none" });
  const bars = shape("g", { role: "none" });
  const parts = new Map();
  for (const node of tree.nodes) {
    const begin = node.parent ? x(node.left) + (forked(node) ? gap : 1) : left;
    const end = node.parent ? x(node.right) - 1 : left + prompt;
    const group = shape("g", { class: "node", role: "treeitem", tabindex: -1, "aria-level": node.depth + 1 });
    const body = shape("rect", { x: begin, y: y(node) - bar / 2, width: Math.max(end - begin, 4), height: bar, rx: 3, class: "bar" });
    group.append(shape("title", {}, visible(nodeWords(tree, node))), body);
    group.setAttribute("aria-label", visible(nodeWords(tree, node)));
    if (node.children.length) group.setAttribute("aria-expanded", "true");
    if (node.observed) {
      const share = (Math.max(end - begin, 4) * node.observed) / node.length;
      group.append(shape("rect", { x: end - share, y: y(node) - bar / 2, width: share, height: bar, rx: 3, class: "observed", fill: "url(#hatch)" }));
    }
    if (node.children.length > 1) group.append(shape("circle", { cx: x(node.right), cy: y(node), r: 3.5, class: "fork" }));
    if (node.parent) {
      const from = x(node.parent.right);
      const link = shape("path", { d: `M ${from} ${y(node.parent)} V ${y(node)} H ${begin}`, class: node.fallbackBegins ? "link fallback" : "link" });
      links.append(link);
      parts.set(node, { group, body, link });
    } else {
      parts.set(node, { group, body });
    }
    if (node.fallbackBegins) group.append(shape("text", { x: begin + 3, y: y(node) + 4, class: "mark" }, "↺"));
    if (node.ends.length) {
      const words = node.ends.map(leafWords).join("  ·  ");
      group.append(shape("text", { x: end + 8, y: y(node) + 4, class: "leaf" }, visible(words)));
    }
    group.addEventListener("click", () => select(node));
    bars.append(group);
  }
  const hatch = shape("pattern", { id: "hatch", width: 5, height: 5, patternUnits: "userSpaceOnUse", patternTransform: "rotate(45)" },
    shape("rect", { width: 5, height: 5, class: "hatch-ground" }), shape("rect", { width: 1.6, height: 5, class: "hatch-line" }));
  const drawing = shape("svg", { width, height, viewBox: `0 0 ${width} ${height}`, role: "tree", "aria-label": "the tree; arrow keys walk through it" },
    shape("defs", {}, hatch), links, bars);
  place.replaceChildren(drawing);

  function paint(scale) {
    for (const [node, { body }] of parts) {
      const colour = scale.colour(node.values[scale.quantity]);
      body.classList.toggle("unknown", colour === null);
      body.style.fill = colour ?? "";
      const mark = body.parentNode.querySelector(".mark");
      if (mark) mark.style.fill = colour === null ? "" : inkOn(colour);
    }
  }

  function mark(selected, trajectory, focus) {
    for (const [node, { group, link }] of parts) {
      const on = !node.parent || trajectory.path.includes(node);
      group.classList.toggle("on", on);
      group.classList.toggle("selected", node === selected);
      group.setAttribute("aria-selected", node === selected);
      group.setAttribute("tabindex", node === selected ? 0 : -1);
      if (link) {
        link.classList.toggle("on", on);
        if (on) links.append(link);
      }
    }
    const { group, body } = parts.get(selected);
    if (focus) group.focus({ preventScroll: true });
    const [box, frame] = [body.getBoundingClientRect(), place.getBoundingClientRect()];
    if (box.top < frame.top || box.bottom > frame.bottom) place.scrollTop += box.top - frame.top - frame.height / 2;
    if (box.left < frame.left || box.right > frame.right) place.scrollLeft += box.left - frame.left - frame.width / 3;
  }

  /** Rings the nodes whose text holds the words. */
  function ring(words) {
    const wanted = words.toLowerCase();
    for (const [node, { group }] of parts) {
      group.classList.toggle("hit", wanted !== "" && (nodeText(node) ?? "").toLowerCase().includes(wanted));
    }
  }

  return { paint, mark, ring };
}
