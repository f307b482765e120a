r"""One spelling for what LaTeX, plain text and Unicode write in many ways; nothing here changes a meaning.

The result is LaTeX that math-verify reads as it was meant: `√144` is `\sqrt{144}`, `2**100` is `2^{100}`, `½` is
`\frac{1}{2}`.
"""

import re
import unicodedata
from functools import lru_cache
from itertools import groupby

REMEMBERED = 4096
"""Texts whose spelling is kept: the trajectories of one prompt give the same few answers, and the same ground truth."""

FONT = r"\\(?:text|math|mathrm|textbf|mathbf|textit|mathit|mathsf|texttt|boldsymbol|bm|bf|rm)"
"""Regular expression of the commands that only choose a font, as :func:`respell` leaves them."""
FONT_GROUP = re.compile(rf"{FONT} ?\{{([^{{}}]*)\}}")

_CHARACTERS = str.maketrans({
    **dict.fromkeys("\u2010\u2011\u2012\u2013\u2014\u2212\ufe63", "-"),
    **dict.fromkeys("\u200b\u200e\u200f\u2060\ufeff", None),
    "π": r"\pi ", "∞": r"\infty ", "×": r"\times ", "÷": r"\div ", "·": r"\cdot ", "⋅": r"\cdot ", "±": r"\pm ",
    "≤": r"\le ", "≥": r"\ge ", "≠": r"\ne ", "≈": r"\approx ", "∪": r"\cup ", "∩": r"\cap ", "∈": r"\in ",
    "∅": r"\emptyset ", "°": r"^\circ ", "º": r"^\circ ", "√": r"\root 2 ", "∛": r"\root 3 ", "∜": r"\root 4 ",
    "ℝ": r"\mathbb{R}", "ℤ": r"\mathbb{Z}", "ℕ": r"\mathbb{N}", "ℚ": r"\mathbb{Q}", "ℂ": r"\mathbb{C}",
    "⟨": r"\langle ", "⟩": r"\rangle ", "′": "'",
})  # fmt: skip
_SHIFTED = {"<super>": "^{{{}}}", "<sub>": "_{{{}}}", "<fraction>": r"\frac{{{}}}{{{}}}"}
_DOLLAR = re.compile(r"(?<!\\)\$")
_END = r"(?![A-Za-z])"
_FUNCTIONS = (
    "arcsin|arccos|arctan|arcsinh|arccosh|arctanh|arsinh|arcosh|artanh|sinh|cosh|tanh|sin|cos|tan|cot|sec|csc|"
    "log|ln|exp|gcd|lcm|max|min|det"
)


def _stacked(found: re.Match[str]) -> str:
    return rf"\{'frac' if found[2] == 'over' else 'binom'}{{{found[1].strip()}}}{{{found[3].strip()}}}"


def _ungrouped(number: re.Match[str]) -> str:
    """Thousands separators go, but inside brackets a comma separates."""
    before = number.string[: number.start()]
    return number[0] if before.count("(") + before.count("[") + before.count(r"\{") > 0 else number[0].replace(",", "")


_SPELLINGS = [
    (re.compile(r"(?<!\\)\\[()\[\]]"), " "),
    (re.compile(r"\\(?:left|right) ?([{}])"), r"\\\1"),
    (re.compile(rf"\\(?:left|right)(?:\.|{_END})|\\[bB]igg?[lrm]?{_END}"), ""),
    (re.compile(rf"\\[dtc]frac{_END}"), r"\\frac"),
    (re.compile(rf"\\(?:mbox|hbox|textnormal|textrm|textsf){_END} ?"), r"\\text"),
    (re.compile(rf"\\operatorname\*? ?\{{({_FUNCTIONS})\}}"), r"\\\1"),
    (re.compile(rf"({FONT}) +\{{|\{{ ?({FONT}){_END} ?(?=[^{{}}]*\}})"), lambda font: f"{font[1] or font[2]}{{"),
    # Marks that group the digits of one number; a plain comma may also separate two numbers.
    (re.compile(r"(?<=[0-9])(?:\{,\}|,? ?\\[,!]) ?(?=[0-9]{3}(?![0-9]))"), ""),
    (re.compile(r"(?<=[0-9])\{([,:])\}(?=[0-9])"), r"\1"),
    (re.compile(r"^ ?(-?)0,([0-9]{3}) ?$"), r"\g<1>0.\2"),
    (re.compile(r"(?<!\\)\\!"), ""),
    (re.compile(rf"(?<!\\)\\(?:[,;: ]|q?quad{_END}|(?:display|text)style{_END})|~"), " "),
    (re.compile(rf"\\varnothing{_END}|\\\{{ *\\\}}"), r"\\emptyset"),
    (re.compile(rf"\\l(?:brace|angle){_END} ?"), lambda mark: r"\{" if "brace" in mark[0] else "("),
    (re.compile(rf"\\r(?:brace|angle){_END} ?"), lambda mark: r"\}" if "brace" in mark[0] else ")"),
    (re.compile(rf"\\([lgn]e)q(?:slant)?{_END}"), r"\\\1"),
    (re.compile(rf"\\(?:lor|vee){_END}"), " or "),
    (re.compile(rf"(?:\{{ ?\}})?\^ ?(?:\{{ ?\\circ ?\}}|\\circ{_END})|\\(?:degree|degrees){_END}"), r"^\\circ "),
    (re.compile(r"(?<![\\A-Za-z])(?:infinity|oo)(?![A-Za-z])"), r"\\infty "),
    (re.compile(r"(?<![\\A-Za-z])pi(?![A-Za-z])"), r"\\pi "),
    (re.compile(rf"(?<![\\A-Za-z{{])({_FUNCTIONS})(?=[ (^_0-9\\])"), r"\\\1 "),
    (re.compile(r"(?<![\\A-Za-z])sqrt(?=[ ({0-9])"), r"\\sqrt"),
    (re.compile(r"\*\*"), "^"),
    (re.compile(r"\\(?:top|intercal)(?![A-Za-z])"), "T"),
    (re.compile(rf"\\lg{_END}"), r"\\log_{10}"),
    (re.compile(r"(\\(?:max|min|gcd|lcm)) ?\\\{([^{}]*)\\\}"), r"\1(\2)"),
    (re.compile(r"\s+"), " "),
    # `1, 234` is two numbers, `1,234` is one.
    (re.compile(r"(?<![0-9.])(?<![0-9],)[1-9][0-9]{0,2}(?:,[0-9]{3})+(?![0-9])"), _ungrouped),
    (re.compile(r"(?<=[0-9]), (?=[0-9]{3}(?![0-9]))"), ";"),
    (re.compile(r" ?(?:\\?%|\\text\{ ?(?:\\?%|percent) ?\}|percent)$"), r"\\%"),
    # White space says something only between two letters or digits (`1 1/2`, `no solution`).
    (re.compile(r"(?<![A-Za-z0-9$]) | (?![A-Za-z0-9$])"), ""),
    (re.compile(r"\+-|-\+"), "-"),
    # A root, a power, an index, a fraction of single characters.
    (re.compile(r"\\root ?([234]) ?([0-9.]+|[A-Za-z]|\\[a-z]+)"), r"\\sqrt[\1]{\2}"),
    (re.compile(r"\\root ?([234]) ?"), r"\\sqrt[\1]"),
    (re.compile(r"\\sqrt\[2\]"), r"\\sqrt"),
    (re.compile(r"\\sqrt ?([0-9A-Za-z])"), r"\\sqrt{\1}"),
    (re.compile(r"\\(frac|binom) ?([0-9]|(?<= )[A-Za-z]) ?([0-9A-Za-z])"), r"\\\1{\2}{\3}"),
    (re.compile(r"\\(frac|binom) ?([0-9]|(?<= )[A-Za-z])\{"), r"\\\1{\2}{"),
    (re.compile(r"\\(frac|binom)\{([^{}]*)\} ?([0-9A-Za-z])"), r"\\\1{\2}{\3}"),
    (re.compile(rf"(?:\{{|^)([^{{}}]+)\\(over|choose){_END} ?([^{{}}]+)(?:\}}|$)"), _stacked),
    (re.compile(rf"_\{{?{FONT}\{{([^{{}}]*)\}}\}}?"), r"_{\1}"),
    (re.compile(r"_\{?\\(max|min|sup|inf|lim) ?\}?"), r"_{\1}"),
    (re.compile(r"\^(-?[0-9]+|[A-Za-z])"), r"^{\1}"),
    (re.compile(r"_([0-9A-Za-z])"), r"_{\1}"),
    (re.compile(rf"{FONT}\{{([0-9.,+-]+)\}}"), r"\1"),
    (re.compile(r"[(\[]?\\begin\{(?:[pb]?matrix|smallmatrix|array)\}(?:\{[lcr| ]*\})?"), r"\\begin{pmatrix}"),
    (re.compile(r"(?:\\\\)?\\end\{(?:[pb]?matrix|smallmatrix|array)\}[)\]]?"), r"\\end{pmatrix}"),
]  # fmt: skip
_BRACKET = re.compile(r"[()]")


@lru_cache(maxsize=REMEMBERED)
def respell(answer: str) -> str:
    """Rewrites an answer into the common spelling: no math mode, no idle space, one name per command."""
    text = (answer if answer.isascii() else _ascii(answer)).strip()
    if len(_DOLLAR.findall(text)) % 2 == 0:  # without a partner it is money
        text = _DOLLAR.sub(" ", text)
    for pattern, replacement in _SPELLINGS:
        text = pattern.sub(replacement, text)
    for mark in ("^", r"\sqrt"):
        text = _braced(text, mark)
    text = text.strip()
    return text[:-1] if text.endswith((".", ",", ";")) and not text.endswith(("..", "\\,", "\\;")) else text


def _ascii(text: str) -> str:
    r"""Unicode's signs as LaTeX: `x²` is `x^{2}`, `⅛` is `\frac{1}{8}`; full-width forms are what they stand for."""
    pieces = []
    for kind, run in groupby(
        text.translate(_CHARACTERS), key=lambda sign: unicodedata.decomposition(sign).partition(" ")[0]
    ):
        plain = unicodedata.normalize("NFKC", "".join(run))
        pieces.append(_SHIFTED[kind].format(*plain.split("⁄")) if kind in _SHIFTED else plain)
    return "".join(pieces).translate(_CHARACTERS)


def _braced(text: str, mark: str) -> str:
    """`^(n+1)` is `^{n+1}`, to the bracket that closes."""
    start = text.find(mark + "(")
    while start >= 0:
        opening, depth = start + len(mark), 0
        for bracket in _BRACKET.finditer(text, opening):
            depth += 1 if bracket[0] == "(" else -1
            if depth == 0:
                text = f"{text[:opening]}{{{text[opening + 1 : bracket.start()]}}}{text[bracket.end() :]}"
                break
        start = text.find(mark + "(", opening)
    return text
