"""Tests on scores and features: how surprising is this if the suspect never saw the coating?

``ks`` compares with a reference model, ``keyed`` with decoy messages, ``rank`` with innocent
models; ``sequential`` are their anytime-valid forms, ``power`` and ``keyed_power`` plan how many
images they need, ``multiple`` corrects for having asked several times.
"""

from __future__ import annotations

from siren_ext.stats.keyed import (
    KeyedResult,
    TraceResult,
    hoeffding_bound,
    keyed_test,
    message_tail,
    trace_messages,
)
from siren_ext.stats.keyed_power import KeyedEffect, plan_keyed
from siren_ext.stats.ks import (
    PAPER_ALPHAS,
    KsResult,
    ResampleResult,
    ks_less,
    ks_two_sided,
    resampled_ks,
)
from siren_ext.stats.low_end import low_end
from siren_ext.stats.multiple import MultipleResult, benjamini_hochberg, holm
from siren_ext.stats.power import (
    Effect,
    SequentialPlan,
    SizePlan,
    pilot_effect,
    plan_from_pilot,
    plan_sequential,
    plan_size,
)
from siren_ext.stats.rank import RankResult, others_needed, rank_among
from siren_ext.stats.sequential import (
    SequentialKeyed,
    SequentialKs,
    SequentialResult,
    least_images,
    look_schedule,
    planned_looks,
    sequential_keyed,
    sequential_ks,
)

__all__ = [
    "Effect",
    "KeyedEffect",
    "KeyedResult",
    "KsResult",
    "MultipleResult",
    "PAPER_ALPHAS",
    "RankResult",
    "ResampleResult",
    "SequentialKeyed",
    "SequentialKs",
    "SequentialPlan",
    "SequentialResult",
    "SizePlan",
    "TraceResult",
    "benjamini_hochberg",
    "hoeffding_bound",
    "holm",
    "keyed_test",
    "ks_less",
    "ks_two_sided",
    "least_images",
    "look_schedule",
    "message_tail",
    "others_needed",
    "pilot_effect",
    "plan_from_pilot",
    "plan_keyed",
    "plan_sequential",
    "plan_size",
    "planned_looks",
    "low_end",
    "rank_among",
    "resampled_ks",
    "sequential_keyed",
    "sequential_ks",
    "trace_messages",
]
