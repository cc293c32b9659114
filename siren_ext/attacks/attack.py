"""What an attack is: a function, its settings with their ranges, and who does it."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from siren_ext.attacks.checks import within
from siren_ext.documents import parse_toml
from siren_ext.errors import ConfigError
from siren_ext.schema import shown

_WORDS = {"true": True, "yes": True, "on": True, "false": False, "no": False, "off": False}
Kind = Literal["edit", "codec", "regeneration", "evasion", "handling", "captions", "weights"]


@dataclass(frozen=True)
class Parameter:
    """One setting of an attack.

    Attributes
    ----------
    default : Any
        Its value at strength 1.
    low, high : float | None
        Its range; None for what is no number.
    neutral : float | None
        Its value at which the attack changes nothing or least; None if it has none.
    logarithmic : bool
        Whether strengths between 0 and 1 are spaced by factors.
    """

    default: Any
    low: float | None = None
    high: float | None = None
    neutral: float | None = None
    logarithmic: bool = False

    def at(self, strength: float) -> Any:
        """The value at a strength.

        Parameters
        ----------
        strength : float
            0 for the neutral value, 1 for the default; more goes beyond, up to the range's end.
        """
        if self.neutral is None or self.low is None or self.high is None:
            return self.default
        if self.logarithmic:
            value = self.neutral * (self.default / self.neutral) ** strength
        else:
            value = self.neutral + strength * (self.default - self.neutral)
        value = min(max(value, self.low), self.high)
        return round(value) if isinstance(self.default, int) else value

    def from_text(self, text: str) -> Any:
        """The value that is meant by a text.

        Parameters
        ----------
        text : str
            A text as it is, where the default is one; true, yes, on, false, no or off where that is
            a truth value; else TOML, such as ``0.5`` or ``[[512, 512]]``.

        Returns
        -------
        Any
            The value, or ``text`` where it is none of these.
        """
        if isinstance(self.default, str) and not text.startswith(('"', "'")):
            return text
        if isinstance(self.default, bool) and text.lower() in _WORDS:
            return _WORDS[text.lower()]
        try:
            return parse_toml(f"value = {text}", name=text, error=ConfigError)["value"]
        except (ConfigError, KeyError):
            return text

    def words(self) -> str:
        """The default, and the range if there is one."""
        text = json.dumps(self.default, ensure_ascii=False)
        return text if self.low is None else f"{text} ({self.low:g} to {self.high:g})"


@dataclass(frozen=True)
class Attack:
    """Something that others do to pictures, their captions or a model's weights.

    Attributes
    ----------
    function : Callable
        ``function(images, generator, **settings)`` returns images; for the kinds ``captions`` and
        ``weights`` it takes and returns captions, or a tensor of weights.
    kind : str
        edit, codec, regeneration, evasion, handling, captions or weights.
    stands_for : str
        Who does this, in a few words.
    parameters : Mapping[str, Parameter]
        Its settings by name.
    quick : bool
        Whether "How robust is my coating?" includes it by default.
    """

    function: Callable[..., Any]
    kind: Kind
    stands_for: str
    parameters: Mapping[str, Parameter]
    quick: bool = False

    @property
    def scalable(self) -> bool:
        """Whether it takes ``strength``."""
        return any(one.neutral is not None for one in self.parameters.values())

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the settings that it takes, ``strength`` included."""
        extra = ("strength",) if self.scalable and "strength" not in self.parameters else ()
        return (*self.parameters, *extra)

    def settings(self, given: Mapping[str, Any] | None = None) -> dict[str, Any] | None:
        """All settings for a call.

        Parameters
        ----------
        given : Mapping[str, Any] | None
            Settings by name. ``strength`` sets those with a neutral value and is overridden by
            settings that are given too.

        Returns
        -------
        dict[str, Any] | None
            For ``function``; None if the strength is 0, so that nothing is changed.

        Raises
        ------
        ConfigError
            If a name is unknown, the strength is out of range, or a setting that is true or false
            is neither.
        """
        values = dict(given or {})
        for name in values:
            if name not in self.names:
                raise ConfigError(
                    f"There is no setting {shown(name)} here; expected one of "
                    f"{', '.join(sorted(self.names))}."
                )
        for name, value in values.items():
            one = self.parameters.get(name)
            if one is not None and isinstance(one.default, bool) and not isinstance(value, bool):
                raise ConfigError(f"{name} is {shown(value)}; expected true or false.")
        strength: float = 1
        if self.scalable and "strength" not in self.parameters:
            strength = values.pop("strength", 1)
            within("strength", strength, 0, 4)
            if not strength and not values:
                return None
        return {name: one.at(strength) for name, one in self.parameters.items()} | values
