r"""What stands around a value without being part of it: units, currency signs, scale words, remarks.

A unit says nothing where the other side has none. Where both have one that is known, they must measure the same, and
the values are converted: ``50\text{ cm}`` is ``0.5\text{ m}``, never ``50\text{ cm}^2``.
"""

import re
from dataclasses import dataclass
from fractions import Fraction

from treepo.rewards.spelling import FONT

Dimensions = tuple[tuple[str, int], ...]

_MINUTE, _HOUR, _INCH = Fraction(60), Fraction(3600), Fraction(254, 10000)
# Names by what they measure; a name of one letter counts only in a font or in a compound such as `m/s`.
_TABLE: dict[str, dict[str, int | Fraction]] = {
    "length": {
        **dict.fromkeys(("m", "meter", "metre"), 1),
        **dict.fromkeys(("mm", "millimeter", "millimetre"), Fraction(1, 1000)),
        **dict.fromkeys(("cm", "centimeter", "centimetre"), Fraction(1, 100)),
        **dict.fromkeys(("km", "kilometer", "kilometre"), 1000),
        **dict.fromkeys(("in", "inch", "inche"), _INCH),
        **dict.fromkeys(("ft", "foot", "feet"), 12 * _INCH),
        **dict.fromkeys(("yd", "yard"), 36 * _INCH),
        **dict.fromkeys(("mi", "mile"), 63360 * _INCH),
    },
    "mass": {
        **dict.fromkeys(("g", "gram"), 1),
        **dict.fromkeys(("mg", "milligram"), Fraction(1, 1000)),
        **dict.fromkeys(("kg", "kilogram"), 1000),
    },
    "time": {
        **dict.fromkeys(("s", "sec", "second"), 1),
        **dict.fromkeys(("min", "minute"), _MINUTE),
        **dict.fromkeys(("h", "hr", "hour"), _HOUR),
        "day": 24 * _HOUR,
        "week": 168 * _HOUR,
    },
    "money": {**dict.fromkeys(("dollar", "USD"), 1), "cent": Fraction(1, 100)},
    "energy": {**dict.fromkeys(("J", "joule"), 1), "kJ": 1000},
    "power": {**dict.fromkeys(("W", "watt"), 1), "kW": 1000},
    "frequency": {**dict.fromkeys(("Hz", "hertz"), 1), "kHz": 1000, "MHz": 1000000},
    "electronvolt": {"eV": 1, "keV": 1000, "MeV": 1000000},
}
_TABLE |= {
    names[0]: dict.fromkeys(names, 1)
    for names in (
        ("pound", "lb"), ("ounce", "oz"), ("month",), ("year", "yr"), ("gallon", "gal"), ("acre",), ("N", "newton"),
        ("V", "volt"), ("A", "amp", "ampere"), ("K", "kelvin"), ("Pa", "pascal"), ("mol", "mole"), ("T", "tesla"),
        ("degree", "deg"), ("rad", "radian"), ("euro",), ("rupee",), ("C",), ("F",), ("am",), ("pm",),
    )
}  # fmt: skip
_UNITS: dict[str, tuple[Dimensions, Fraction]] = {
    name: (((measure, 1),), Fraction(factor)) for measure, names in _TABLE.items() for name, factor in names.items()
}
_UNITS |= dict.fromkeys(("L", "l", "liter", "litre"), ((("length", 3),), Fraction(1, 1000)))
_UNITS |= dict.fromkeys(("mL", "ml", "milliliter", "millilitre"), ((("length", 3),), Fraction(1, 1_000_000)))
_UNITS |= {"mph": ((("length", 1), ("time", -1)), 63360 * _INCH / _HOUR)}
_UNITS |= dict.fromkeys(("kmph", "kph"), ((("length", 1), ("time", -1)), 1000 / _HOUR))
_COUNTED = frozenset((
    "unit", "way", "point", "people", "person", "student", "child", "children", "boy", "girl", "man", "men",
    "woman", "women", "apple", "coin", "ball", "book", "card", "ticket", "page", "sheet", "side", "edge",
    "vertex", "vertices", "face", "digit", "term", "row", "seat", "box", "boxe", "piece", "cookie", "marble",
    "block", "tile", "game", "team", "number", "integer", "solution",
))  # fmt: skip
_SCALES = {"hundred": 10**2, "thousand": 10**3, "million": 10**6, "billion": 10**9, "trillion": 10**12, "dozen": 12}
# Words that make something else of the number before them.
_REMARKS = frozenset((
    "not", "no", "nor", "and", "or", "but", "is", "are", "was", "isn", "wrong", "false", "incorrect", "less",
    "more", "than", "least", "most", "fewer", "greater", "over", "under", "about", "tenth", "hundredth",
    "thousandth", "half", "halve", "third", "quarter", "fourth", "fifth", "squared", "cubed", "factorial",
    "plus", "minus", "choose", "pair", "score", "percent", "mod", "modulo", "if", "when", "except", "unless",
    "to", "from", "through", "maybe", "perhaps", "otherwise", "base",
))  # fmt: skip
_CURRENCIES = {"\\$": "money", "$": "money", "€": "euro", "£": "sterling", "¥": "yen", "₹": "rupee"}

_CURRENCY = re.compile(r"(?P<sign>[+-]?)(?:\\text\{)?(?P<currency>\\?\$|[€£¥₹])\}?(?P<value>[^$€£¥₹]+)")
_DEGREES = re.compile(rf"(?P<value>.+?)\^\\circ ?(?P<scale>(?:{FONT}\{{)? ?[CF] ?\}}?)?", re.DOTALL)
_IN_FONT = re.compile(rf"{FONT}\{{")
_FONT_GROUP = re.compile(rf"{FONT}\{{([^{{}}]*)\}}")
_BARE_SUFFIX = re.compile(r"(?P<value>.*[0-9})])(?P<suffix> ?[A-Za-z][A-Za-z0-9 ./^{}-]*)", re.DOTALL)
_HALF_OF_DAY = re.compile(r"\b([ap])\. ?m\b\.?", re.I)
_TOKEN = re.compile(r"(?P<name>[A-Za-z]+)|\^\{?(?P<power>-?[1-9])\}?|(?P<per>/)|(?P<idle> |\.|\\cdot|\*|-)")


@dataclass(frozen=True, slots=True, kw_only=True)
class Quantity:
    """A respelt answer taken apart.

    Attributes:
        value: The text without unit, currency sign and scale word.
        measures: What the unit measures, None without a known unit.
        factor: The unit in terms of its measure's first unit.
        scale: Of `million` and the like, 1 without.
        remark: Words behind the value that are no unit.
    """

    value: str
    measures: Dimensions | None = None
    factor: Fraction = Fraction(1)
    scale: int = 1
    remark: str = ""

    def measures_otherwise(self, other: "Quantity") -> bool:
        """Whether both have known units that do not measure the same."""
        if self.measures is None or other.measures is None or self.measures == other.measures:
            return False
        # Degrees without a scale may be a temperature.
        names = {self.measures, other.measures}
        return not names <= {(("degree", 1),), (("C", 1),)} and not names <= {(("degree", 1),), (("F", 1),)}


def quantity(text: str) -> Quantity:
    """Takes the unit, currency sign or scale word off a respelt answer."""
    currency = _CURRENCY.fullmatch(text)
    if currency is not None:
        inner = quantity(currency["sign"] + currency["value"])
        measures = ((_CURRENCIES[currency["currency"]], 1),)
        return Quantity(value=inner.value, measures=measures, scale=inner.scale, remark=inner.remark)
    degrees = _DEGREES.fullmatch(text)
    if degrees is not None:
        letter = re.search(r"[CF](?= ?\}?$)", degrees["scale"] or "")
        return Quantity(value=degrees["value"], measures=((letter[0] if letter else "degree", 1),))
    font = _IN_FONT.search(text, 1)
    if font is not None:
        value, suffix, in_font = text[: font.start()], text[font.start() :], True
    else:
        bare = _BARE_SUFFIX.fullmatch(text)
        if bare is None:
            return Quantity(value=text)
        value, suffix, in_font = bare["value"], bare["suffix"], False
    value = value.rstrip()
    return _read_suffix(value, suffix, in_font=in_font) or Quantity(value=text)


def _read_suffix(value: str, suffix: str, *, in_font: bool) -> Quantity | None:
    words = _HALF_OF_DAY.sub(r"\1m", _FONT_GROUP.sub(r" \1 ", suffix).strip())
    if not value or value.count("{") != value.count("}") or value.endswith(("^", "_", "+", "-", "=", "(", ",")):
        return None
    names = [_singular(name.lower()) for name in re.findall("[A-Za-z]+", words)]
    scale = 1
    while names and names[0] in _SCALES:
        scale *= _SCALES[names.pop(0)]
        words = re.split("[A-Za-z]+", words, maxsplit=1)[1]
    if scale > 1 and not names:
        return Quantity(value=value, scale=scale)
    unit = _compound(words)
    if unit is not None and (in_font or len(words) > 1):
        return Quantity(value=value, measures=unit[0], factor=unit[1], scale=scale)
    if not names or not (in_font or all(name in _COUNTED for name in names)):
        return None
    if in_font and _FONT_GROUP.fullmatch(suffix) is None:
        return None
    if not _REMARKS.isdisjoint(names) or re.search(r"[^A-Za-z .'-]", words):
        return Quantity(value=value, scale=scale, remark=" ".join(words.casefold().split()))
    return Quantity(value=value, scale=scale)


def _singular(name: str) -> str:
    return name[:-1] if len(name) > 2 and name.endswith("s") else name


def _compound(words: str) -> tuple[Dimensions, Fraction] | None:
    r"""Reads `km/h`, `square feet`, `m \cdot s^{-2}`, ..."""
    measures: dict[str, int] = {}
    factor = Fraction(1)
    last: tuple[Dimensions, Fraction, int] | None = None
    sign, power = 1, 1
    position = 0

    def multiply(times: int) -> None:
        nonlocal factor
        assert last is not None
        factor *= last[1] ** times
        for measure, exponent in last[0]:
            measures[measure] = measures.get(measure, 0) + exponent * times

    while position < len(words):
        token = _TOKEN.match(words, position)
        if token is None:
            return None
        position = token.end()
        name = (token["name"] or "").lower()
        raised = {"squared": 2, "cubed": 3}.get(name, 0) or int(token["power"] or 0)
        if token["per"] or name in ("per", "an") or (name == "a" and last is not None):
            sign = -1
        elif raised:
            if last is None:
                return None
            multiply((raised - 1) * last[2])
        elif name in ("square", "sq", "cubic", "cu"):
            power = 2 if name.startswith("sq") else 3
        elif name:
            found = _UNITS.get(token["name"]) or _UNITS.get(name) or _UNITS.get(_singular(name))
            if found is None:
                return None
            last = (*found, sign)
            multiply(power * sign)
            sign, power = 1, 1
    if last is None:
        return None
    return tuple(sorted((measure, exponent) for measure, exponent in measures.items() if exponent)), factor
