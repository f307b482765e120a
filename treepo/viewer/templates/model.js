"use strict";
// What the page computes of its trees; knows no page, so that it also runs where there is none.

const ROW = {
  group: 0, uid: 1, prompt: 2, truth: 3, trajectories: 4, accuracy: 5, reward: 6,
  nodes: 7, forks: 8, fallbacks: 9, depth: 10, tokens: 11, piece: 12, place: 13,
};

/** The mean of the numbers that are known; null without any. */
function mean(values) {
  const known = values.filter((value) => value !== null && value !== undefined);
  return known.length ? known.reduce((sum, value) => sum + value, 0) / known.length : null;
}

/** The text with a mark in the place of every character that is not seen and can mislead, as ⟨202E⟩. */
function visible(text) {
  return String(text).replace(/[\p{Cc}\p{Cf}\p{Cs}]/gu, (found) =>
    "\n\t\u200c\u200d".includes(found) ? found : `⟨${found.codePointAt(0).toString(16).toUpperCase().padStart(4, "0")}⟩`,
  );
}

/** A number for people: three decimals, a real minus sign, a sign where asked for. */
function number(value, signed = false) {
  if (value === null || value === undefined) return "none";
  const words = Math.abs(value) >= 1000 ? Math.round(value).toString() : value.toFixed(3).replace(/\.?0+$/, "").replace(/^-0$/, "0");
  return (signed && words > 0 ? `+${words}` : words).replace("-", "−");
}

/** Entry of a trajectory's advantages for the node at a place of its path: the mean over what the model wrote. */
function advantageAt(trajectory, place, written) {
  const own = trajectory.advantages?.[place];
  return Array.isArray(own) ? mean(own.slice(0, written)) : (own ?? null);
}

/**
 * A tree with all that is drawn: node 0 is the prompt, and nodes know their parent, children, depth, position,
 * trajectories and values. Trajectories know their nodes. What is not known is null.
 */
function growTree(data) {
  const nodes = [{ number: 0, id: null, parent: null, length: 0, observed: 0, depth: 0, start: 0 }];
  data.nodes.forEach((node, place) => {
    const parent = nodes[node.parent === undefined ? 0 : node.parent + 1];
    nodes.push({
      ...node, number: place + 1, parent, observed: node.observed ?? 0,
      depth: parent.depth + 1, start: parent.start + parent.length,
    });
  });
  for (const node of nodes) Object.assign(node, { children: [], through: [], ends: [] });
  for (const node of nodes.slice(1)) node.parent.children.push(node);
  const trajectories = data.trajectories.map((found, place) => {
    const path = [];
    for (let node = nodes[found.leaf + 1]; node.parent; node = node.parent) path.unshift(node);
    const trajectory = { ...found, number: place, path, fallback: found.fallback ?? false };
    for (const node of [nodes[0], ...path]) node.through.push(trajectory);
    path.at(-1).ends.push(trajectory);
    return trajectory;
  });
  for (const node of nodes) {
    node.written = node.length - node.observed;
    node.fallback = node.parent !== null && node.through.every((trajectory) => trajectory.fallback);
    node.values = nodeValues(node);
  }
  // A fallback begins where what only fallbacks pass leaves what others pass, too.
  for (const node of nodes) node.fallbackBegins = node.fallback && !node.parent.fallback;
  return { ...data, nodes, trajectories };
}

function nodeValues(node) {
  const whole = node.parent === null;
  return {
    advantage: mean(
      node.through.map((trajectory) =>
        whole ? trajectoryAdvantage(trajectory) : advantageAt(trajectory, node.depth - 1, node.written),
      ),
    ),
    accuracy: mean(node.through.map((trajectory) => trajectory.accuracy)),
    reward: mean(node.through.map((trajectory) => trajectory.reward)),
    logProb: mean(node.logProbs?.slice(0, node.written) ?? []),
    entropy: mean(node.entropies?.slice(0, node.written) ?? []),
  };
}

/** Mean over all tokens of a trajectory that the model wrote; null without advantages. */
function trajectoryAdvantage(trajectory) {
  let sum = 0;
  let tokens = 0;
  trajectory.path.forEach((node, place) => {
    const own = advantageAt(trajectory, place, node.length - node.observed);
    if (own === null) return;
    sum += own * (node.length - node.observed);
    tokens += node.length - node.observed;
  });
  return tokens ? sum / tokens : null;
}

/**
 * What a token holds of a quantity, for a trajectory through its node; null where it holds
 * nothing of its own, as where all tokens of its node have the same advantage.
 */
function tokenValue(node, index, trajectory, quantity) {
  if (index >= node.written) return null;
  if (quantity === "logProb") return node.logProbs?.[index] ?? null;
  if (quantity === "entropy") return node.entropies?.[index] ?? null;
  const own = quantity === "advantage" ? trajectory.advantages?.[node.depth - 1] : null;
  return Array.isArray(own) ? own[index] : null;
}

/** The text of a node; null where none was kept. */
function nodeText(node) {
  return node.text ?? node.pieces?.join("") ?? null;
}

/** Where the tokens of a node are in the response. */
function tokenSpan(node) {
  const last = node.start + node.length - 1;
  return last === node.start ? `token ${last}` : `tokens ${node.start} to ${last}`;
}

/** Lines of the drawing: every leaf one of its own, other nodes the middle of their children's. */
function layRows(tree) {
  let taken = 0;
  const pending = [tree.nodes[0]];
  while (pending.length) {
    const node = pending.pop();
    if (!node.children.length) node.row = taken++;
    for (let child = node.children.length - 1; child >= 0; child--) pending.push(node.children[child]);
  }
  for (const node of [...tree.nodes].reverse()) {
    if (node.children.length) node.row = (node.children[0].row + node.children.at(-1).row) / 2;
  }
  return taken;
}

/** Where nodes begin and end from left to right, from 0 to about `room`; no node is narrower than `least`. */
function layColumns(tree, room, byTokens, least) {
  const span = Math.max(...tree.nodes.map((node) => (byTokens ? node.start + node.length : node.depth)), 1);
  const [root, ...nodes] = tree.nodes;
  root.left = root.right = 0;
  for (const node of nodes) {
    node.left = node.parent.right;
    node.right = Math.max(
      node.left + least,
      (room * (byTokens ? node.start + node.length : node.depth)) / span,
    );
  }
  return Math.max(...nodes.map((node) => node.right));
}

/** The node that an arrow key leads to; the node itself where there is none. */
function neighbour(tree, node, key, trajectory) {
  if (key === "ArrowLeft") return node.parent ?? node;
  if (key === "ArrowRight") {
    return node.children.find((child) => child.through.includes(trajectory)) ?? node.children[0] ?? node;
  }
  const level = tree.nodes.filter((other) => other.depth === node.depth).sort((one, other) => one.row - other.row);
  return level[level.indexOf(node) + (key === "ArrowUp" ? -1 : 1)] ?? node;
}

/** Numbers of the rows of the index that a filter leaves; words are looked for in uid, prompt and ground truth. */
function chosenRows(index, filter) {
  const words = filter.words.toLowerCase();
  const prompts = index.prompts.map((text) => words === "" || text.toLowerCase().includes(words));
  const chosen = [];
  index.rows.forEach((row, place) => {
    const accuracy = row[ROW.accuracy];
    const verdict = accuracy === null ? "unknown" : accuracy >= 1 ? "right" : accuracy <= 0 ? "wrong" : "mixed";
    const fits =
      (filter.group === "" || String(row[ROW.group]) === filter.group) &&
      (filter.accuracy === "" || verdict === filter.accuracy) &&
      (!filter.fallback || row[ROW.fallbacks] > 0);
    if (!fits) return;
    const named =
      prompts[row[ROW.prompt]] ||
      row[ROW.uid].toLowerCase().includes(words) ||
      (row[ROW.truth] ?? "").toLowerCase().includes(words);
    chosen.push([place, named]);
  });
  return chosen;
}

/** Whether a response of a tree, as it was kept, holds the words. */
function responsesHold(data, words) {
  const wanted = words.toLowerCase();
  return data.trajectories.some((trajectory) => {
    const texts = [];
    for (let place = trajectory.leaf; place !== undefined; place = data.nodes[place].parent) {
      texts.unshift(nodeText(data.nodes[place]) ?? "");
    }
    return (trajectory.text ?? texts.join("")).toLowerCase().includes(wanted);
  });
}
