"""Personalisation: what an infringer, an honest artist and a surrogate's maker all do."""

from __future__ import annotations

from siren_ext.personalize.config import PersonalizeConfig
from siren_ext.personalize.run import personalize, training_dtype

__all__ = ["PersonalizeConfig", "personalize", "training_dtype"]
