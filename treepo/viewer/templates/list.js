// The list of prompts: filters, search, and as many lines in the page as are seen.

const LINE = 50;

/** Makes an element; its words are text and never markup. */
function element(tag, words = "", mark = "") {
  const made = document.createElement(tag);
  made.textContent = visible(words);
  if (mark) made.className = mark;
  return made;
}

/** What names a prompt in one line: how it begins, or its id where nothing but what all prompts share is left. */
function promptWords(index, row) {
  return index.prompts[row[ROW.prompt]].slice(0, 200).replace(/\s+/g, " ") || row[ROW.uid];
}

/**
 * The list.
 * `select` is called with the number of a row; `trees` gives the trees of a piece.
 */
function promptList(index, { select, trees }) {
  const at = (id) => document.getElementById(id);
  const [list, space, count] = [at("list"), at("space"), at("count")];
  let shown = [];
  let selected = null;
  let query = 0;

  function describe(row) {
    const right = row[ROW.accuracy] === null ? `reward ${number(row[ROW.reward])}` : `${Math.round(100 * row[ROW.accuracy])}% right`;
    const marks = `●${row[ROW.forks]}${row[ROW.fallbacks] ? ` ↺${row[ROW.fallbacks]}` : ""}`;
    const about = element("span", "", "about");
    about.append(element("span", index.groups[row[ROW.group]]), element("span", `${right} · ${row[ROW.trajectories]} traj. ${marks}`));
    about.title = visible(`${index.groups[row[ROW.group]]}, prompt ${row[ROW.uid]}; ${row[ROW.trajectories]} trajectories, ${row[ROW.nodes]} nodes, `
      + `${row[ROW.forks]} forks, ${row[ROW.fallbacks]} from fallbacks, depth ${row[ROW.depth]}, ${row[ROW.tokens]} tokens`);
    return about;
  }

  function line(place) {
    const chosen = shown[place];
    const row = index.rows[chosen];
    const made = element("div", "", "line");
    made.id = `row-${chosen}`;
    made.setAttribute("role", "option");
    made.setAttribute("aria-setsize", shown.length);
    made.setAttribute("aria-posinset", place + 1);
    made.setAttribute("aria-selected", chosen === selected);
    made.style.top = `${place * LINE}px`;
    const share = element("span", "", "share");
    if (row[ROW.accuracy] !== null) {
      const right = element("span");
      right.style.width = `${100 * row[ROW.accuracy]}%`;
      share.append(right);
    }
    made.append(element("span", promptWords(index, row), "words"), share, describe(row));
    made.addEventListener("click", () => select(chosen));
    return made;
  }

  function draw() {
    const first = Math.max(0, Math.floor(list.scrollTop / LINE) - 5);
    const last = Math.min(shown.length, Math.ceil((list.scrollTop + list.clientHeight) / LINE) + 5);
    space.style.height = `${shown.length * LINE}px`;
    space.replaceChildren(...Array.from({ length: Math.max(0, last - first) }, (_, place) => line(first + place)));
  }

  /** Marks the row that is shown, and brings it into sight. */
  function mark(row) {
    selected = row;
    const place = shown.indexOf(row);
    if (place >= 0) {
      if (place * LINE < list.scrollTop) list.scrollTop = place * LINE;
      else if ((place + 1) * LINE > list.scrollTop + list.clientHeight) list.scrollTop = (place + 1) * LINE - list.clientHeight;
      list.setAttribute("aria-activedescendant", `row-${row}`);
    } else {
      list.removeAttribute("aria-activedescendant");
    }
    draw();
  }

  /** The rows that hold the words, in prompts and ground truths or also in responses; null once another search began. */
  async function search(words) {
    const mine = ++query;
    const candidates = chosenRows(index, {
      words, group: at("group").value, accuracy: at("accuracy").value, fallback: at("fallback").checked,
    });
    if (words === "" || !at("responses").checked) return candidates.filter(([, named]) => named).map(([row]) => row);
    const found = [];
    for (const [done, [row, named]] of candidates.entries()) {
      const { [ROW.piece]: piece, [ROW.place]: place } = index.rows[row];
      if (named || responsesHold((await trees(piece))[place], words)) found.push(row);
      if (done % 20 === 19) {
        count.textContent = `searching, ${done + 1} of ${candidates.length} …`;
        await new Promise((resolve) => setTimeout(resolve));
      }
      if (mine !== query) return null;
    }
    return found;
  }

  async function update() {
    let found;
    try {
      found = await search(at("search").value.trim());
    } catch (error) {
      count.textContent = error.message;
      return;
    }
    if (found === null) return;
    shown = found;
    count.textContent = shown.length === index.rows.length ? `${shown.length} trees` : `${shown.length} of ${index.rows.length} trees`;
    list.scrollTop = 0;
    mark(selected);
  }

  /** Selects the row that many behind the selected one; the first one where that is not in the list. */
  function turn(by) {
    const place = shown.indexOf(selected);
    const next = place < 0 ? shown[0] : shown[place + by];
    if (next !== undefined) select(next);
  }

  index.groups.forEach((name, place) => {
    const option = element("option", name);
    option.value = place;
    at("group").append(option);
  });
  for (const id of ["group", "accuracy", "fallback", "responses"]) at(id).addEventListener("change", update);
  let waiting;
  at("search").addEventListener("input", () => {
    clearTimeout(waiting);
    waiting = setTimeout(update, 150);
  });
  at("filters").addEventListener("submit", (event) => event.preventDefault());
  list.addEventListener("scroll", draw);
  new ResizeObserver(draw).observe(list);
  list.addEventListener("keydown", (event) => {
    const by = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    if (!by || event.ctrlKey || event.metaKey || event.altKey) return;
    event.preventDefault();
    event.stopPropagation();
    turn(by);
  });
  return { update, mark, turn };
}
