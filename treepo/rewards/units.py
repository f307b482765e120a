r"""What stands around a value without being part of it: units, currency signs, scale words, remarks.

A unit says nothing where the other side has none. Where both have one that is known, they must measure the same, and
the values are converted: ``50\text{ cm}`` is ``0.5\text{ m}``, never ``50\text{ cm}^2``. math-verify drops them all.
"""

import re
from collections import Counter
from dataclasses import dataclass
from fractions import Fraction

from treepo.rewards.spelling import FONT, FONT_GROUP

# What they measure, and by their size in the first one all names; a name of one letter counts only in a font or in a
# compound such as `m/s`.
_TABLE = """
length: 1 m meter metre, 1/1000 mm millimeter millimetre, 1/100 cm centimeter centimetre, 1000 km kilometer kilometre,
    127/5000 in inch inche, 381/1250 ft foot feet, 1143/1250 yd yard, 201168/125 mi mile
mass: 1 g gram, 1/1000 mg milligram, 1000 kg kilogram
time: 1 s sec second, 60 min minute, 3600 h hr hour, 86400 day, 604800 week
money: 1 dollar usd $, 1/100 cent; euro: 1 euro eur €; rupee: 1 rupee ₹; sterling: 1 £; yen: 1 ¥
energy: 1 J joule, 1000 kJ; power: 1 W watt, 1000 kW; frequency: 1 Hz hertz, 1000 kHz, 1000000 MHz
electronvolt: 1 eV, 1000 keV, 1000000 MeV; newton: 1 N newton; volt: 1 V volt; ampere: 1 A amp ampere
kelvin: 1 K kelvin; pascal: 1 Pa pascal; mole: 1 mol mole; tesla: 1 T tesla; pound: 1 lb pound; ounce: 1 oz ounce
month: 1 month; year: 1 yr year; gallon: 1 gal gallon; acre: 1 acre; litre: 1 L l liter litre, 1/1000 mL ml milliliter
degree: 1 degree deg; radian: 1 rad radian; celsius: 1 C celsius; fahrenheit: 1 F fahrenheit
"""
_UNITS: dict[str, tuple[str, Fraction]] = {
    name: (measure.strip(), Fraction(size))
    for line in re.split(r"\n(?! )|; ", _TABLE.strip())
    for measure, _, sizes in [line.partition(":")]
    for size, *names in map(str.split, sizes.split(","))
    for name in names
}
_SCALES = {"hundred": 10**2, "thousand": 10**3, "million": 10**6, "billion": 10**9, "trillion": 10**12, "dozen": 12}
_SCALES |= {"万": 10**4, "亿": 10**8}
_REMARKS = re.compile(
    "not|no|nor|and|or|but|is|are|was|isn|wrong|false|incorrect|less|more|than|least|most|fewer|greater|over|under|"
    "about|tenth|hundredth|thousandth|half|halve|third|quarter|fourth|fifth|squared|cubed|factorial|plus|minus|choose|"
    "pair|score|percent|mod|modulo|if|when|except|unless|to|from|through|maybe|perhaps|otherwise|base|times"
)
"""Words that make something else of the number before them."""

_CURRENCY = re.compile(r"([+-]?)(?:\\text\{)?\\?([$€£¥₹])\}?([^$€£¥₹]+)")
_DEGREES = re.compile(rf"\^\\circ ?(?:(?:{FONT}\{{)? ?([CF]) ?\}}?)?")
_ANGLE = re.compile(r"\\(?:sin|cos|tan|cot|sec|csc)(?![a-z])")
_ORDINAL = re.compile(r"(?<=[0-9])(?:\^?\{?\\text\{(?:st|nd|rd|th)\}\}?|\^?\{?(?:st|nd|rd|th)\}?)")
_LETTER = r"(?:[^\W\d_](?<![\u0370-\u03ff]))"  # of any alphabet but the Greek, whose letters are names
_UPRIGHT = r"\\(?:text|mathrm|textbf|textit|texttt|rm)"  # a letter in another font is a variable
_FONTS = rf" ?{_UPRIGHT}\{{[^{{}}]*\}}(?:{_UPRIGHT}\{{[^{{}}]*\}}|\^\{{?-?[0-9]\}}?|/|\\cdot|\*| )*"
_WORDS = rf" ?(?:[$€£¥₹]|{_LETTER})(?:{_LETTER}|[0-9 ./^{{}}-])*"
_SUFFIX = re.compile(rf"(?P<value>.+?)(?P<fonts>{_FONTS})|(?P<bare>.*[0-9}})\]])\\?(?P<words>{_WORDS})", re.DOTALL)
_FACTOR = re.compile(rf"(?P<per>/?)(?P<name>{_LETTER}+|[$€£¥₹])(?:\^\{{?(?P<power>-?[1-9])\}}?)?")
_PHRASES = [
    (re.compile(r"(?:\\cdot|[ .()*]|-(?![0-9]))+"), " "),
    (re.compile(r" \^"), "^"),
    (re.compile(r"\bdegrees? (?=[CFcf])"), ""),
    (re.compile(r"\b(?:square|sq) (\w+)"), r"\1^2"),
    (re.compile(r"\b(?:cubic|cu) (\w+)"), r"\1^3"),
    (re.compile(r" squared\b"), "^2"),
    (re.compile(r" cubed\b"), "^3"),
    (re.compile(r" ?(?:/|\b(?:per|an?)\b) ?"), "/"),
    (re.compile(r"\bmph\b"), "mi/h"),
    (re.compile(r"\bk(?:m)?ph\b"), "km/h"),
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Quantity:
    """A respelt answer taken apart.

    Attributes:
        value: The text without unit, currency sign and scale word.
        measures: What the unit measures, and to which power; None without a known unit.
        factor: The unit in terms of its measure's first unit.
        scale: Of `million` and the like, 1 without.
        remark: Words behind the value that are no unit but make it another one.
    """

    value: str
    measures: dict[str, int] | None = None
    factor: Fraction = Fraction(1)
    scale: int = 1
    remark: str = ""

    def measures_otherwise(self, other: "Quantity") -> bool:
        """Whether both have known units that do not measure the same."""
        if self.measures is None or other.measures is None or self.measures == other.measures:
            return False
        # Degrees without a scale may be a temperature.
        return {*self.measures, *other.measures} not in ({"degree", "celsius"}, {"degree", "fahrenheit"})

    def size(self, other: "Quantity") -> Fraction:
        """What one of the value counts for beside another quantity; a unit only where the other side has one too."""
        return self.scale * (Fraction(1) if self.measures is None or other.measures is None else self.factor)


def quantity(text: str) -> Quantity:
    """Takes the unit, currency sign or scale word off a respelt answer."""
    currency = _CURRENCY.fullmatch(text)
    if currency is not None:
        inner = quantity(currency[1] + currency[3])
        measures = {_UNITS[currency[2]][0]: 1}
        return Quantity(value=inner.value, measures=measures, scale=inner.scale, remark=inner.remark)
    degrees = None if _ANGLE.search(text) else _DEGREES.search(text)
    if degrees is not None:
        scale = {"C": "celsius", "F": "fahrenheit"}.get(degrees[1], "degree")
        return Quantity(value=_DEGREES.sub("", text), measures={scale: 1})
    text = _ORDINAL.sub("", text)
    found = _SUFFIX.fullmatch(text)
    value = (found["value"] or found["bare"]).rstrip() if found else ""
    if found is None or value.endswith(("^", "_", "+", "-", "=", "(", ",", "^{", "_{")):
        return Quantity(value=text)
    return _with_suffix(value, found["fonts"] or found["words"], in_font=bool(found["fonts"])) or Quantity(value=text)


def _with_suffix(value: str, suffix: str, *, in_font: bool) -> Quantity | None:
    words = FONT_GROUP.sub(r" \1 ", suffix).strip()
    names = [_singular(name.lower()) for name in re.findall(f"{_LETTER}+", words)]
    scale = 1
    while names and (names[0] in _SCALES or names[0][0] in _SCALES):
        scale *= _SCALES.get(names[0]) or _SCALES[names[0][0]]
        words = words.partition(" ")[2]
        names.pop(0)
    unit = _unit(words)
    if unit is not None and (in_font or len(words) > 1 or not words.isalpha()):
        return Quantity(value=value, measures=unit[0], factor=unit[1], scale=scale)
    if scale == 1 and not names:
        return None
    # One letter is a variable, and so are a few without a space; words of other alphabets never are.
    if all(name.isascii() for name in names) and max(map(len, names), default=4) < (2 if in_font else 3):
        return None
    if not in_font and suffix[0] != " " and suffix.isascii():
        return None
    remark = any(map(_REMARKS.fullmatch, names)) or re.search(rf"(?!{_LETTER}|[ .,()'/^{{}}23-]).", words)
    return Quantity(value=value, scale=scale, remark=" ".join(words.casefold().split()) if remark else "")


def _singular(name: str) -> str:
    return name[:-1] if len(name) > 2 and name.endswith("s") else name


def _unit(words: str) -> tuple[dict[str, int], Fraction] | None:
    r"""Reads `km/h`, `square feet`, `degrees Celsius`, `m \cdot s^{-2}`, ..."""
    for pattern, replacement in _PHRASES:
        words = pattern.sub(replacement, words).strip()
    measures, factor, sign, position = Counter[str](), Fraction(1), 1, 0
    while position < len(words):
        found = _FACTOR.match(words, position)
        name = found["name"] if found else ""
        spellings = (name, name.lower(), _singular(name.lower())) if len(name) > 1 else (name,)
        known = next((_UNITS[spelt] for spelt in spellings if spelt in _UNITS), None)
        if found is None or known is None:
            return None
        position = found.end() + words.startswith(" ", found.end())
        sign = -1 if found["per"] else sign
        measure, exponent, size = (known[0], 1, known[1]) if known[0] != "litre" else ("length", 3, known[1] / 1000)
        power = sign * int(found["power"] or 1)
        measures[measure] += exponent * power
        factor *= size**power
    return ({measure: power for measure, power in measures.items() if power}, factor) if words else None
