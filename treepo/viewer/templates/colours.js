// What nodes are coloured by, and the colours: orange, grey and blue around a middle, or purple that deepens; readers
// who tell red from green badly tell these apart.

const SPREAD = {
  light: ["#a84a00", "#efa35c", "#dde2e8", "#6da7dc", "#0f519c"],
  dark: ["#ff9a3d", "#b5692c", "#46505c", "#3f83c4", "#7cc0ff"],
};
const DEPTH = {
  light: ["#f0e7f6", "#c49ddb", "#8d4fb0", "#4b1277"],
  dark: ["#383043", "#6d4b8d", "#a878d0", "#ecd2ff"],
};

/** Every quantity: its names, its colours, where its scale begins and ends among the values of a tree, and what to say where it is not known. */
const QUANTITIES = {
  advantage: {
    name: "advantage", short: "advantage", ramp: SPREAD, signed: true,
    // At least to 1, so that a tree without a difference that counts is pale.
    range: (values) => { const most = Math.max(1, ...values.map(Math.abs)); return [-most, most]; },
    absent: "no advantages: they are computed in training, and were not kept here",
  },
  accuracy: {
    name: "accuracy of the subtree", short: "accuracy", ramp: SPREAD, range: () => [0, 1],
    absent: "no accuracy: the reward function gave no field acc; colour by reward",
  },
  reward: {
    name: "reward of the subtree", short: "reward", ramp: DEPTH, range: (values) => [Math.min(...values), Math.max(...values)],
    absent: "no rewards were kept",
  },
  logProb: {
    name: "mean log-prob", short: "log-prob", ramp: DEPTH, falling: true, range: (values) => [Math.min(...values), 0],
    absent: "no log-probs were kept; an evaluation keeps them with evaluation.log_probs=true",
  },
  entropy: {
    name: "mean entropy (nats)", short: "entropy", ramp: DEPTH, range: (values) => [0, Math.max(...values)],
    absent: "no entropies: dumps hold them from format 4 on, unless rollout log-probs stand for the old ones (bypass_mode)",
  },
};

const parsed = new Map();

/** Red, green and blue of a colour as #rrggbb. */
function channels(colour) {
  if (!parsed.has(colour)) parsed.set(colour, [1, 3, 5].map((place) => parseInt(colour.slice(place, place + 2), 16)));
  return parsed.get(colour);
}

/** The colour at a place of a ramp, from 0 to 1. */
function mixed(stops, place) {
  const at = Math.min(Math.max(place, 0), 1) * (stops.length - 1);
  const low = Math.min(Math.floor(at), stops.length - 2);
  const [from, to] = [channels(stops[low]), channels(stops[low + 1])];
  return `rgb(${from.map((channel, part) => Math.round(channel + (to[part] - channel) * (at - low))).join(" ")})`;
}

/**
 * The scale of a quantity over a tree.
 * `colour` gives the colour of a value; null, which is not known, has none. `range` is null where no value is known.
 */
function scaleOf(tree, quantity, scheme) {
  const described = QUANTITIES[quantity];
  const values = tree.nodes.map((node) => node.values[quantity]).filter((value) => value !== null);
  const range = values.length ? described.range(values) : null;
  const stops = described.falling ? [...described.ramp[scheme]].reverse() : described.ramp[scheme];
  const colour = (value) => {
    if (value === null || range === null) return null;
    const [low, high] = range;
    return mixed(stops, high > low ? (value - low) / (high - low) : 0.5);
  };
  return { ...described, quantity, range, colour, stops };
}

/** Black or white, whichever is read better on a colour of `mixed`. */
function inkOn(colour) {
  const [red, green, blue] = colour.match(/\d+/g).map((part) => (Number(part) / 255) ** 2.2);
  return 0.2126 * red + 0.7152 * green + 0.0722 * blue > 0.18 ? "#000" : "#fff";
}
