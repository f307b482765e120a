// The page: what is shown, keys, and the address that leads back to it.

function start() {
  const at = (id) => document.getElementById(id);
  const index = JSON.parse(at("index").textContent);
  const trees = treeStore((piece) => at(`piece-${piece}`)?.textContent ?? readFile(piece));
  const dark = matchMedia("(prefers-color-scheme: dark)");
  const shown = { row: null, tree: null, node: null, trajectory: null, drawing: null };
  const list = promptList(index, { select: open, trees });

  for (const [name, described] of Object.entries(QUANTITIES)) {
    const option = element("option", described.name);
    option.value = name;
    at("quantity").append(option);
  }

  /** Shows the tree of a row, and of it the node and the trajectory of an address, or the prompt and the first one. */
  async function open(row, { node = 0, trajectory = 0 } = {}) {
    shown.row = row;
    list.mark(row);
    const { [ROW.piece]: piece, [ROW.place]: place, [ROW.group]: group } = index.rows[row];
    let found;
    try {
      found = growTree((await trees(piece))[place]);
    } catch (error) {
      if (shown.row === row) at("problem").textContent = error.message;
      return;
    }
    if (shown.row !== row) return;
    at("problem").textContent = "";
    at("tree-title").textContent = visible(`${index.groups[group]}: ${promptWords(index, index.rows[row])}`);
    shown.tree = found;
    shown.node = found.nodes[node] ?? found.nodes[0];
    shown.trajectory = found.trajectories[trajectory] ?? found.trajectories[0];
    if (!at("quantity").value) at("quantity").value = ["advantage", "accuracy", "reward"].find((name) => scaleOf(found, name, "light").range) ?? "logProb";
    describe();
    draw();
  }

  function describe() {
    const { tree } = shown;
    const facts = [`${tree.trajectories.length} trajectories`, `${tree.nodes.length - 1} nodes`, `id ${index.rows[shown.row][ROW.uid]}`];
    if (tree.truth !== null) facts.unshift(`ground truth ${tree.truth}`);
    at("tree-facts").textContent = visible(facts.join(" · "));
    const stats = Object.entries(tree.stats).map(([name, value]) => `${name.replaceAll("_", " ")} ${number(value)}`);
    at("stats").hidden = stats.length === 0;
    at("stats").lastElementChild.textContent = visible(stats.join(" · "));
    const marks = [];
    if (tree.nodes.some((node) => node.children.length > 1)) marks.push("● a fork");
    if (tree.nodes.some((node) => node.fallbackBegins)) marks.push("↺ and a dashed line: a fallback begins");
    if (tree.nodes.some((node) => node.observed)) marks.push("hatched: written by an environment or a tool");
    at("marks").textContent = marks.join(" · ");
  }

  function draw() {
    if (!shown.tree) return;
    shown.drawing = drawTree(shown.tree, at("canvas"), { byTokens: at("width").value === "tokens", select: choose });
    paint();
    shown.drawing.ring(words());
  }

  const words = () => at("search").value.trim();

  function paint() {
    const scale = scaleOf(shown.tree, at("quantity").value, dark.matches ? "dark" : "light");
    shown.scale = scale;
    shown.drawing.paint(scale);
    const known = scale.range !== null;
    for (const id of ["low", "ramp", "high"]) at(id).hidden = !known;
    at("unknown").textContent = known ? "" : scale.absent;
    if (known) {
      at("low").textContent = number(scale.range[0], scale.signed);
      at("high").textContent = number(scale.range[1], scale.signed);
      at("ramp").style.background = `linear-gradient(to right, ${scale.stops.join(", ")})`;
    }
    update(false);
  }

  function update(focus) {
    const { tree, node, trajectory, scale } = shown;
    shown.drawing.mark(node, trajectory, focus);
    showPath(tree, { selected: node, trajectory, scale, select: choose });
    markWords(at("segments"), words());
    const row = index.rows[shown.row];
    const address = new URLSearchParams({
      group: index.groups[row[ROW.group]], uid: row[ROW.uid], node: node.number, trajectory: trajectory.number, colour: at("quantity").value,
    });
    history.replaceState(null, "", `#${address}`);
  }

  /** Selects a node; the trajectory that is read stays where it passes through it. */
  function choose(node) {
    shown.node = node;
    if (!node.through.includes(shown.trajectory)) shown.trajectory = node.through[0];
    update(true);
  }

  function turnTrajectory(by) {
    const leaves = [...shown.tree.trajectories].sort((one, other) => one.path.at(-1).row - other.path.at(-1).row);
    const next = leaves[leaves.indexOf(shown.trajectory) + by];
    if (!next) return;
    shown.trajectory = next;
    shown.node = next.path.at(-1);
    update(true);
  }

  function turnQuantity() {
    const field = at("quantity");
    field.selectedIndex = (field.selectedIndex + 1) % field.options.length;
    paint();
  }

  const keys = {
    n: () => list.turn(1),
    p: () => list.turn(-1),
    c: turnQuantity,
    "[": () => turnTrajectory(-1),
    "]": () => turnTrajectory(1),
    "/": () => { at("search").focus(); at("search").select(); },
    "?": () => at("help").showModal(),
  };

  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || at("help").open) return;
    if (event.target.closest("input, select, textarea")) {
      if (event.key !== "Escape") return;
      // Some browsers would empty the field; what was found shall stay listed.
      event.preventDefault();
      event.target.blur();
      return;
    }
    if (event.key.startsWith("Arrow") && shown.tree) choose(neighbour(shown.tree, shown.node, event.key, shown.trajectory));
    else if (keys[event.key] && (shown.tree || "np/?".includes(event.key))) keys[event.key]();
    else return;
    event.preventDefault();
  });

  at("quantity").addEventListener("change", () => shown.tree && paint());
  at("width").addEventListener("change", draw);
  at("previous").addEventListener("click", () => list.turn(-1));
  at("next").addEventListener("click", () => list.turn(1));
  at("leaf-previous").addEventListener("click", () => turnTrajectory(-1));
  at("leaf-next").addEventListener("click", () => turnTrajectory(1));
  at("help-open").addEventListener("click", keys["?"]);
  at("search").addEventListener("input", () => {
    if (!shown.tree) return;
    shown.drawing.ring(words());
    markWords(at("segments"), words());
  });
  at("segments").addEventListener("pointerover", (event) => {
    const token = event.target.closest(".token");
    if (!token) return;
    const node = shown.tree.nodes[token.closest(".segment").dataset.node];
    at("token").textContent = tokenWords(node, Number(token.dataset.token), shown.trajectory);
  });
  dark.addEventListener("change", () => shown.tree && paint());
  let width = at("canvas").clientWidth;
  new ResizeObserver(() => {
    if (at("canvas").clientWidth === width) return;
    width = at("canvas").clientWidth;
    draw();
  }).observe(at("canvas"));

  /** Opens what the address names, or the first tree. */
  function follow() {
    const address = new URLSearchParams(location.hash.slice(1));
    if (address.get("colour") in QUANTITIES) at("quantity").value = address.get("colour");
    else at("quantity").selectedIndex = -1;
    const row = index.rows.findIndex((row) => row[ROW.uid] === address.get("uid") && index.groups[row[ROW.group]] === address.get("group"));
    open(Math.max(row, 0), row < 0 ? {} : { node: Number(address.get("node")), trajectory: Number(address.get("trajectory")) });
  }

  addEventListener("hashchange", follow);
  list.update();
  follow();
}

if (typeof document !== "undefined") start();
