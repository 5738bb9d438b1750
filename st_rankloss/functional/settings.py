"""Settings whose types define, for code and documentation, which values they accept.

A function declares a setting once, as in ``temperature: Temperature = 0.05``: rule, description and default.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Any, NamedTuple, get_args, get_type_hints

from st_rankloss.functional.checks import check_at_least, check_choice, check_temperature
from st_rankloss.functional.gains import Gain, check_gain
from st_rankloss.kernels import METHODS


class Setting(NamedTuple):
    """The rule and description in the type of a setting.

    Attributes:
        check: Takes the value and the name, and raises TypeError or ValueError for a wrong value.
        text: The description, for documentation.
        auto: The value of ``"auto"``, in standard deviations of a query's similarities for a temperature, and in shares
            of a list's largest relevance for a label temperature; None disallows it.
    """

    check: Callable[[Any, str], None]
    text: str = ""
    auto: float | None = None

    def __call__(self, value: Any, name: str) -> None:
        """Raise TypeError or ValueError unless ``value`` is valid."""
        if self.auto is None or not isinstance(value, str):
            self.check(value, name)
        elif value != "auto":
            raise TypeError(f"{name} must be a number or 'auto', got {value!r}.")


def settings_of(declaring: Callable[..., Any]) -> dict[str, Setting]:
    """Return the settings that a function or a dataclass declares by `Setting` types, by name."""
    found = {}
    for name, kind in get_type_hints(declaring, include_extras=True).items():
        for part in get_args(kind):
            if isinstance(part, Setting):
                found[name] = part
    return found


def check_settings(settings: Mapping[str, Setting], values: Mapping[str, Any]) -> None:
    """Raise TypeError or ValueError unless each value is valid for the setting of its name."""
    for name, setting in settings.items():
        setting(values[name], name)


def check_fields(configured: object) -> None:
    """Raise TypeError or ValueError unless the fields of a dataclass are valid for their types."""
    check_settings(settings_of(type(configured)), vars(configured))


def choice(*names: str) -> Setting:
    """Return the setting that accepts ``names``."""
    return Setting(lambda value, name: check_choice(value, names, name))


def _number(value: Any, name: str, rule: str, *, least: float = -math.inf, most: float = math.inf) -> None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError(f"{name} must be a number, got {value!r}.")
    if not (math.isfinite(value) and least <= value <= most):
        raise ValueError(f"{name} must be {rule}, got {value!r}.")


def _at_least_0(value: Any, name: str) -> None:
    _number(value, name, "a finite number of at least 0", least=0)
    _number(value, name, "at most 1e30, which float32 can hold", most=1e30)


def _share(value: Any, name: str) -> None:
    _number(value, name, "in (0, 1]", least=math.ulp(0), most=1)


def check_count(value: Any, name: str, least: int = 1) -> None:
    """Raise ValueError unless ``value`` is an integer of at least ``least``."""
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise ValueError(f"{name} must be an integer of at least {least}, got {value!r}.")


def cutoffs_of(k: int | Sequence[int]) -> tuple[int, ...]:
    """Return one or several cutoffs as a tuple."""
    return (k,) if isinstance(k, int) else tuple(k)


def _check_cutoffs(value: Any, name: str) -> None:
    several = isinstance(value, tuple | list)
    if several and (not value or len(set(value)) < len(value)):
        raise ValueError(f"{name} must be one or several different cutoffs, got {value!r}.")
    for each in value if several else (value,):
        check_count(each, name)


def _flag(value: Any, name: str) -> None:
    if not isinstance(value, bool):
        raise TypeError(f"{name} must be True or False, got {value!r}.")


Positive = Annotated[float, Setting(check_temperature)]
AtLeast0 = Annotated[float, Setting(_at_least_0)]
Share = Annotated[float, Setting(_share)]
Finite = Annotated[float, Setting(lambda value, name: _number(value, name, "a finite number"))]
Flag = Annotated[bool, Setting(_flag)]
Count = Annotated[int, Setting(check_count)]
TwoOrMore = Annotated[int, Setting(lambda value, name: check_count(value, name, 2))]
Cutoffs = Annotated[int | tuple[int, ...], Setting(_check_cutoffs)]
Cutoff = Annotated[
    int | None, Setting(lambda value, name: check_at_least(value, 1, name), "Cutoff; None means no cutoff.")
]

# Numbers, or "auto". Bodies compute with the number, hence Any.
Temperature = Annotated[
    Any,
    Setting(check_temperature, 'Divides the similarities, above 0, in units of ``similarity``; or ``"auto"``.', 1.0),
]
AUTO_LABEL_TEMPERATURE = 0.1
"""The best document of a list is e^10 times as likely as an irrelevant one, whatever the range of relevance."""

LabelTemperature = Annotated[
    Any,
    Setting(
        check_temperature,
        'Divides the grades, above 0, in units of ``relevance``; or ``"auto"``, a tenth of the list\'s largest grade.',
        AUTO_LABEL_TEMPERATURE,
    ),
]
Softness = Annotated[
    Any,
    Setting(
        check_temperature,
        'Width of the soft comparison, above 0, in units of ``similarity``; .01 to .1 for cosines; or ``"auto"``.',
        0.5,
    ),
]
CutoffTemperature = Annotated[float, Setting(check_temperature, "Width of the soft cutoff, above 0, in ranks.")]
GainSetting = Annotated[
    Gain,
    Setting(
        lambda value, name: check_gain(value),
        '``"linear"``, ``"exponential"`` (2^y - 1) or a callable of relevance that maps 0 to 0.',
    ),
]
Method = Annotated[
    str,
    Setting(
        lambda value, name: check_choice(value, ["auto", *METHODS], name),
        "Method for sums over pairs, see `st_rankloss.kernels`.",
    ),
]


def arguments_of(function: Callable[..., Any]) -> list[inspect.Parameter]:
    """Return the parameters of a function with plain types: without rules, and not as strings."""
    hints = get_type_hints(function)
    shown = {name: float | str if kind is Any else kind for name, kind in hints.items()}
    parameters = inspect.signature(function).parameters.values()
    return [parameter.replace(annotation=shown.get(parameter.name, parameter.annotation)) for parameter in parameters]
