"""``trace``: find out whose copy a model was trained on."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from siren_ext.cli.chains import chain_files
from siren_ext.cli.common import command, explain, say
from siren_ext.cli.options import AsJson, SuspectScores
from siren_ext.cli.passphrase import PassphraseEnv, open_keys, open_salt
from siren_ext.cli.verify import (
    BeaconRound,
    CommitmentFile,
    Root,
    Salt,
    TimeStamp,
)
from siren_ext.errors import ConfigError

if TYPE_CHECKING:
    from siren_ext.coater.coater import Coater
    from siren_ext.keys.coating_key import KeyRing
    from siren_ext.scoring.score_set import ScoreSet
    from siren_ext.stats.keyed import TraceResult
    from siren_ext.stats.multiple import MultipleResult


def trace(
    suspect: SuspectScores,
    key: Annotated[Path, typer.Option("--key", help="Key file with several recipients.")],
    alpha: Annotated[
        float, typer.Option("--alpha", help="Accepted risk of wrongly naming any recipient.")
    ] = 1e-3,
    coater: Annotated[
        Path | None,
        typer.Option(
            "--coater",
            help="With a measurement of a model's file: the coater, unless it is a bundled one.",
        ),
    ] = None,
    commitment: CommitmentFile = None,
    timestamp: TimeStamp = None,
    root: Root = None,
    rounds: BeaconRound = None,
    salt: Salt = None,
    as_json: AsJson = False,
    passphrase_env: PassphraseEnv = None,
) -> None:
    """Find out whose copy a model was trained on, with one keyed test per recipient.

    The p-values are corrected for the number of recipients and for earlier tests of the key file,
    which its ledger counts. The copy may have been passed on or stolen, so the recipient need not
    have trained the model. A measurement of a model's file is tested as in 'verify', by whole
    changes and bits together.
    """
    from siren_ext.evidence.chain import check_scores
    from siren_ext.evidence.ledger import count_test, priced
    from siren_ext.evidence.precedence import not_committed
    from siren_ext.scoring.score_set import ScoreSet
    from siren_ext.stats.keyed import trace_messages
    from siren_ext.stats.multiple import holm
    from siren_ext.verdict.pools import used_features
    from siren_ext.verdict.whole import wholes_of

    chain = chain_files(commitment, timestamp, root, rounds, None, None, salt)
    scores = ScoreSet.load(suspect)
    features = used_features(scores)
    ring = open_keys(key, passphrase_env)
    messages = [one.signs() for _, one in ring]
    result = trace_messages(features, messages, alpha=alpha)
    wholes = wholes_of(scores, [one for _, one in ring], _coater_of(scores, suspect, coater))
    values = [one.p_value for one in wholes or result.findings]
    beside = [row for row, one in enumerate(wholes or ()) if one.base_found(alpha)]
    for row in beside:  # the message fits the images themselves
        values[row] = 1.0
    standing = not_committed(keyed=True)
    if chain is not None:
        prints = [one.fingerprint() for _, one in ring]
        opened = open_salt(salt, passphrase_env) if salt else None
        standing = check_scores(chain, scores, prints, opened)
    count = count_test(key, scores, "")
    standing, _ = priced(standing, count, len(ring))
    prices = [min(1.0, p * count.price) for p in values]
    # committed keys that are not in the file could have been tested as well
    absent = [1.0] * (standing.keys - len(prices))
    corrected = holm(prices + absent, alpha=alpha)
    broken = standing.status == "does not fit"
    rows = _ranking(ring, result, values, corrected, nobody=broken)
    if as_json:
        about = {"alpha": alpha, "images": len(features)}
        content = {**about, "recipients": rows, "commitment": standing.to_dict()}
        say(json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False))
    else:
        _print_ranking(rows, alpha, broken=broken)
    if beside:
        names = ", ".join(ring.names[row] for row in beside)
        explain(
            f"Not counted: {names}. The base model, which never saw the coating, fits their "
            "messages too. Measure again with the untouched originals."
        )
    explain(standing.text)
    if standing.left_open:
        explain(standing.left_open)


def _coater_of(scores: ScoreSet, suspect: Path, coater: Path | None) -> Coater | None:
    """The coater that whole changes are tested with, if it was given."""
    from siren_ext.coater.bundled import coater_path
    from siren_ext.coater.coater import Coater

    if coater is None:
        return None
    if not scores.whole:
        raise ConfigError(
            f"--coater was given, but {suspect} is not a measurement of a model's file by whole "
            "changes, so no coater is needed; leave --coater out."
        )
    return Coater.load(coater_path(coater))


def register(app: typer.Typer) -> None:
    """Add the command.

    Parameters
    ----------
    app : typer.Typer
        the program.
    """
    command(app, "trace", example="siren-ext trace --suspect scores.json --key keys.json")(trace)


def _ranking(
    ring: KeyRing,
    result: TraceResult,
    values: list[float],
    corrected: MultipleResult,
    *,
    nobody: bool,
) -> list[dict[str, Any]]:
    """One row per recipient, the best fit first; ``nobody`` is named where the chain is broken."""
    names = ring.names
    rows = []
    for index in sorted(result.ranking, key=lambda index: values[index]):
        finding = result.findings[index]
        rows.append(
            {
                "recipient": names[index],
                "named": corrected.rejected[index] and not nobody,
                "p_value": values[index],
                "p_corrected": corrected.adjusted[index],
                "statistic": finding.statistic,
                "bits_right": finding.bits_right,
                "bits": finding.bits,
            }
        )
    return rows


def _print_ranking(rows: list[dict[str, Any]], alpha: float, *, broken: bool) -> None:
    from siren_ext.verdict.wording import odds

    width = max(len(row["recipient"] or "(unnamed)") for row in rows)
    for row in rows:
        name = (row["recipient"] or "(unnamed)").ljust(width)
        bits = f"{row['bits_right']} of {row['bits']} bits"
        figures = f"p = {row['p_value']:.3g}, corrected {row['p_corrected']:.3g}"
        say(f"{name}  {bits}  {figures}{'  <- this copy' if row['named'] else ''}")
    if broken:
        say("Nobody is named, because the commitment does not fit.")
    elif not any(row["named"] for row in rows):
        say(f"No recipient stands out at a risk of {odds(alpha)}.")
    else:
        explain("This names a copy, not a culprit: copies can be passed on or stolen.")
