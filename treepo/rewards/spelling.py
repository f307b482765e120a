r"""One spelling for what LaTeX, plain text and Unicode write in many ways; nothing here changes a meaning."""

import re

_CHARACTERS = str.maketrans(
    {
        "\N{MINUS SIGN}": "-",
        "\N{EN DASH}": "-",
        "π": r"\pi ",
        "∞": r"\infty ",
        "×": r"\times ",
        "÷": r"\div ",
        "·": r"\cdot ",
        "√": r"\sqrt ",
        "±": r"\pm ",
        "≤": r"\le ",
        "≥": r"\ge ",
        "≠": r"\ne ",
        "≈": r"\approx ",
        "∪": r"\cup ",
        "∩": r"\cap ",
        "∈": r"\in ",
        "∅": r"\emptyset ",
        "°": r"^\circ ",
        "²": "^2",
        "³": "^3",
        "½": r"\frac{1}{2}",
        "⅓": r"\frac{1}{3}",
        "⅔": r"\frac{2}{3}",
        "¼": r"\frac{1}{4}",
        "¾": r"\frac{3}{4}",
        "\N{ZERO WIDTH SPACE}": None,
        "\N{ZERO WIDTH NO-BREAK SPACE}": None,
        # The full-width forms of the ASCII characters, as East Asian text has them.
        **{chr(code + 0xFEE0): chr(code) for code in range(0x21, 0x7F)},
    }
)
_END = r"(?![A-Za-z])"
_SPELLINGS = [
    (re.compile(rf"\\[dtc]frac{_END}"), r"\\frac"),
    (re.compile(rf"\\(?:left|right|[bB]igg?[lrm]?){_END}"), ""),
    # Marks that group the digits of one number; a plain comma may also separate two numbers and stays.
    (re.compile(r"(?<=[0-9])(?:\{,\}|,\\!|\\[,!])(?=[0-9]{3}(?![0-9]))"), ""),
    (re.compile(r"(?<=[0-9])\{,\}(?=[0-9])"), ","),
    (re.compile(r"(?<!\\)\\!"), ""),
    (re.compile(rf"(?<!\\)\\(?:[,;: ]|q?quad{_END}|(?:display|text)style{_END})|~"), " "),
    (re.compile(rf"\\varnothing{_END}|\\\{{ *\\\}}"), r"\\emptyset"),
    (re.compile(rf"\\lbrace{_END} ?"), r"\\{"),
    (re.compile(rf"\\rbrace{_END} ?"), r"\\}"),
    (re.compile(rf"\\([lgn]e)q(?:slant)?{_END}"), r"\\\1"),
    (re.compile(rf"\\(?:mbox|hbox|textnormal|textrm){_END}"), r"\\text"),
    (re.compile(rf"\^ ?(?:\{{ ?\\circ ?\}}|\\circ{_END})|\\(?:degree|degrees){_END}"), r"^\\circ "),
    (re.compile(r"(?<![\\A-Za-z])(?:infinity|oo)(?![A-Za-z])"), r"\\infty "),
    (re.compile(r"(?<![\\A-Za-z])pi(?![A-Za-z])"), r"\\pi "),
    (re.compile(r"(?<![\\A-Za-z{])(sin|cos|tan|cot|sec|csc|log|ln)(?=[ (^0-9\\])"), r"\\\1 "),
    (re.compile(r"\s+"), " "),
    # `1, 234` is two numbers, `1,234` is one.
    (re.compile(r"(?<=[0-9]), (?=[0-9]{3}(?![0-9]))"), ";"),
    (re.compile(r" ?(?:\\?%|\\text\{ ?(?:%|\\%|percent) ?\}|percent)$"), r"\\%"),
    # White space says something only between two letters or digits (`1 1/2`, `no solution`).
    (re.compile(r"(?<![A-Za-z0-9$]) | (?![A-Za-z0-9$])"), ""),
]
_MATH_MODE = (("$$", "$$"), ("$", "$"), ("\\(", "\\)"), ("\\[", "\\]"))
FONT = r"\\(?:text|mathrm|textbf|mathbf|textit|mathit|mathsf|texttt|operatorname|boldsymbol|bf|rm)"
"""Regular expression of the commands that only choose a font."""
_WHOLE_FONT = re.compile(rf"{FONT}\{{([^{{}}]*)\}}")


def respell(answer: str) -> str:
    """Rewrites an answer into the common spelling: no math mode around it, no idle space, one name per command."""
    text = answer.translate(_CHARACTERS).strip()
    for begin, end in _MATH_MODE:
        inner = text[len(begin) : -len(end)]
        if text == begin + inner + end and begin not in inner:
            text = inner
    for pattern, replacement in _SPELLINGS:
        text = pattern.sub(replacement, text)
    text = text.strip()
    return text[:-1] if text.endswith((".", ",", ";")) and not text.endswith(("..", "\\,", "\\;")) else text


def without_font(text: str) -> str:
    """A respelt answer without a font around the whole of it."""
    font = _WHOLE_FONT.fullmatch(text)
    return font[1].strip() if font else text
