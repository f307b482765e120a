// Pieces of trees: in the page itself, or files beside it that are read when one is looked at.

const OPEN_PIECES = 8;
const awaited = new Map();

/** Every file of a piece calls this. */
function receive(piece, base64) {
  awaited.get(piece)?.(base64);
}

async function unpack(base64) {
  const bytes = Uint8Array.from(atob(base64), (letter) => letter.charCodeAt(0));
  return new Response(new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"))).json();
}

/** A piece from its file. A script and no request, since pages that are opened as files may make none. */
function readFile(piece) {
  const script = document.createElement("script");
  return new Promise((resolve, reject) => {
    awaited.set(piece, resolve);
    script.src = `pieces/${piece}.js`;
    script.addEventListener("error", () => reject(new Error(`pieces/${piece}.js, which belongs to this page, cannot be read`)));
    document.head.append(script);
  }).finally(() => {
    awaited.delete(piece);
    // Or the browser would keep the text of every piece.
    script.remove();
  });
}

/** Trees by number of piece and place. Unpacked pieces are kept; the longest unused one goes first. */
function treeStore(readPiece, limit = OPEN_PIECES) {
  const open = new Map();
  return async function trees(piece) {
    const found = open.get(piece) ?? Promise.resolve(readPiece(piece)).then(unpack);
    open.delete(piece);
    open.set(piece, found);
    if (open.size > limit) open.delete(open.keys().next().value);
    try {
      return await found;
    } catch (error) {
      open.delete(piece);
      throw error;
    }
  };
}
