"""Renders the pages of reports from their templates."""

from __future__ import annotations

from functools import cache
from importlib import resources
from typing import Any

from siren_ext.text import printable
from siren_ext.verdict.outcomes import tone_of
from siren_ext.verdict.wording import odds


def render(name: str, **values: Any) -> str:
    """A page of a report.

    Parameters
    ----------
    name : str
        A template in the folder of this module; it may include others.
    values : Any
        What the template needs; a missing value is an error.

    Returns
    -------
    str
        HTML, in which all values are escaped.
    """
    return str(_environment().get_template(name).render(**values))


@cache
def _environment() -> Any:
    """The templates; each is compiled once, which takes longer than to fill it in."""
    import jinja2

    env = jinja2.Environment(
        loader=jinja2.FunctionLoader(_source),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    env.filters |= {"odds": odds, "show": printable, "number": _number, "tone": tone_of}
    return env


def _source(name: str) -> str:
    return resources.files("siren_ext.report").joinpath(name).read_text(encoding="utf-8")


def _number(value: float | None, digits: int = 2) -> str:
    if value is None:
        return "\u2013"
    if value != 0 and (abs(value) < 10 ** -(digits + 1) or abs(value) >= 1e7):
        return f"{value:.3g}"
    return f"{value:,.{digits}f}"
