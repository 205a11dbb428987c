"""Values in the text of a declaration: variations, keyword arguments, ways and shots (``gravity=5:20``, ``5x1``)."""

from __future__ import annotations

import re
from typing import Any, NoReturn

from envs.errors import FamilySpecError
from envs.gymnasium.variations import Distribution, Variation, VariationTarget

VARIATION_FORMS = (
    "Write NAME=LOW:HIGH (uniform), NAME=log:LOW:HIGH, NAME=int:LOW:HIGH, NAME=A|B|C (one of), NAME=sum:X+Y, "
    "NAME=product:X*Y or NAME=frozen_lake_map:SIZE:P; kwarg.NAME and option.NAME vary a keyword argument or a reset "
    "option. Variations that fit any environment: auto, actions, observations[=permute|scale|flip], sticky[=LARGEST], "
    "rewards[=delay:STEPS], numbers[=FACTOR]."
)
AUTOMATIC = {
    "auto": ("", 1.25),
    "actions": ("", 1.0),
    "observations": ("permute", 2.0),
    "sticky": ("", 0.25),
    "rewards": ("delay", 3.0),
    "numbers": ("", 1.25),
}
"""The variations that are completed from the environment: name → default form, and default amount."""
LONGEST_DELAY = 100
LARGEST_FACTOR = 10.0
FEW_SHOT_FORM = re.compile(r"(?P<ways>\d{1,4})[x×](?P<shots>\d{1,4})", re.IGNORECASE)
TARGETS = {
    "attribute": VariationTarget.ATTRIBUTE,
    "kwarg": VariationTarget.KWARG,
    "option": VariationTarget.RESET_OPTION,
}
RANGES = {"uniform": Distribution.UNIFORM, "log": Distribution.LOG_UNIFORM, "int": Distribution.INTEGER}
COMBINATIONS = {"sum": (Distribution.SUM, "+"), "product": (Distribution.PRODUCT, "*")}


def parse_variation(text: str) -> Variation:
    """Read one variation.

    Args:
        text: ``[attribute.|kwarg.|option.]NAME=`` and then ``LOW:HIGH`` (uniform), ``log:LOW:HIGH``, ``int:LOW:HIGH``,
            ``A|B|C``, ``sum:X+Y``, ``product:X*Y`` or ``frozen_lake_map[:SIZE[:P]]``; or one of ``AUTOMATIC``.

    Raises:
        FamilySpecError: the text has none of these forms, or its range is empty.
    """
    path, separator, value = (part.strip() for part in text.partition("="))
    automatic = _automatic(text, path, value)
    if automatic is not None:
        return automatic
    if not separator or not path or not value:
        refuse_variation(text, "it has no NAME=VALUES.")
    target, name = _target(text, path)
    if "|" in value:
        values = tuple(_scalar(choice) for choice in value.split("|"))
        return Variation(name=name, target=target, distribution=Distribution.CHOICE, values=values)
    kind, *rest = value.split(":")
    if kind in COMBINATIONS and len(rest) == 1:
        distribution, sign = COMBINATIONS[kind]
        names = tuple(operand.strip() for operand in rest[0].split(sign))
        return Variation(name=name, target=target, distribution=distribution, values=names)
    if kind == Distribution.FROZEN_LAKE_MAP.value and len(rest) <= 2:
        numbers = [_number(text, number) for number in rest]
        size, p = numbers[0] if numbers else 4.0, numbers[1] if len(numbers) > 1 else 0.8
        if not size.is_integer():
            refuse_variation(text, f"{size:g} is not a whole number.")
        options: dict[str, Any] = {"size": int(size), "p": p}
        return Variation(name=name, target=target, distribution=Distribution.FROZEN_LAKE_MAP, options=options)
    distribution = RANGES.get(kind, Distribution.UNIFORM)
    bounds = rest if kind in RANGES else [kind, *rest]
    if len(bounds) != 2:
        refuse_variation(text, f"{value!r} is neither a range nor a choice.")
    low, high = (_number(text, bound) for bound in bounds)
    if distribution is Distribution.INTEGER and not (low.is_integer() and high.is_integer()):
        refuse_variation(text, f"{value!r} is not a range of whole numbers.")
    return Variation(name=name, target=target, distribution=distribution, low=low, high=high)


def _automatic(text: str, name: str, value: str) -> Variation | None:
    """Return the automatic variation that a text names; None if it has another form.

    The forms are such that a name of an attribute with values (``sticky=0.1:0.3``) keeps its meaning.
    """
    if name not in AUTOMATIC or (value and name in {"auto", "actions"}):
        return None
    form, amount = AUTOMATIC[name]
    kind, _, rest = value.partition(":")
    if name == "observations" and kind in {"permute", "scale", "flip"} and (kind == "scale" or not rest):
        form, number = kind, rest
    elif name == "rewards" and kind == "delay":
        number = rest
    elif name in {"sticky", "numbers"} and re.fullmatch(r"[\d.]+", value):
        number = value
    elif value:
        return None
    else:
        number = ""
    amount = _number(text, number) if number else amount
    if (complaint := _amount_complaint(name, form, amount)) is not None:
        refuse_variation(text, complaint)
    target, options = VariationTarget.INTERFACE, {"form": form, "amount": amount}
    return Variation(name=name, target=target, distribution=Distribution.AUTO, options=options)


def _amount_complaint(name: str, form: str, amount: float) -> str | None:
    """Return what is wrong with the amount of an automatic variation."""
    if name == "sticky":
        return None if 0 < amount < 1 else f"its largest probability, {amount:g}, is not between 0 and 1."
    if name == "rewards":
        is_whole = amount.is_integer() and 1 <= amount <= LONGEST_DELAY
        return None if is_whole else f"its delay, {amount:g}, is not a whole number from 1 to {LONGEST_DELAY}."
    if name == "numbers" or form == "scale":
        return None if 1 < amount <= LARGEST_FACTOR else f"its factor, {amount:g}, is not between 1 and 10."
    return None


def parse_setting(text: str) -> tuple[str, Any]:
    """Read one keyword argument, ``NAME=VALUE``. Numbers, true, false and none are converted; other values are text.

    Raises:
        FamilySpecError: the text does not have this form.
    """
    name, separator, value = (part.strip() for part in text.partition("="))
    if not separator or not name.isidentifier():
        raise FamilySpecError(
            operation="reading keyword argument", subject=text, found="it has no NAME=VALUE.", hint="Write size=5."
        )
    return name, _scalar(value)


def parse_few_shot(text: str) -> tuple[int, int]:
    """Read the ways and the shots of few-shot tasks, written as ``5x1``.

    Raises:
        FamilySpecError: the text does not have this form.
    """
    match = FEW_SHOT_FORM.fullmatch(text.strip())
    if match is None:
        raise FamilySpecError(
            operation="reading ways and shots", subject=text, found="it has no WAYSxSHOTS.", hint="Write 5x1."
        )
    return int(match["ways"]), int(match["shots"])


def _target(text: str, path: str) -> tuple[VariationTarget, str]:
    prefix, separator, name = path.rpartition(".")
    if not name.isidentifier():
        refuse_variation(text, f"{name!r} is not a name.")
    if not separator:
        return VariationTarget.ATTRIBUTE, name
    if prefix not in TARGETS:
        refuse_variation(text, f"{prefix!r} is not one of {', '.join(TARGETS)}.")
    return TARGETS[prefix], name


def _number(text: str, word: str) -> float:
    try:
        return float(word)
    except ValueError:
        refuse_variation(text, f"{word!r} is not a number.")


def _scalar(word: str) -> Any:
    word = word.strip()
    known = {"true": True, "false": False, "none": None}
    if word.lower() in known:
        return known[word.lower()]
    for kind in (int, float):
        try:
            return kind(word)
        except ValueError:
            continue
    return word


def refuse_variation(text: str, found: str) -> NoReturn:
    """Raise the error of a variation that cannot be used.

    Raises:
        FamilySpecError: always.
    """
    raise FamilySpecError(operation="reading variation", subject=text, found=found, hint=VARIATION_FORMS)
