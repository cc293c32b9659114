"""Every cheat and evasion in one table: what the version before said, and what this one says.

What the version before said was measured once, when this version was begun, and is stored here. The
rest is computed: from simulated features of a committed key, from the bundled pictures and coaters,
and from the stored table of the panel. Takes a few minutes on two cores; a stopped run is resumed.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from siren_ext.cli.common import say
from siren_ext.documents import read_json
from siren_ext.errors import EvidenceError
from siren_ext.experiments import file_cheats as file
from siren_ext.experiments import model_cheats as model
from siren_ext.experiments import other_cheats as other
from siren_ext.experiments import owner_cheats as owner
from siren_ext.experiments import unkeyed_cheats as unkeyed
from siren_ext.experiments.pages import table, write_between
from siren_ext.files import write_json

app = typer.Typer(add_completion=False)

HEAD = ("what is tried", "version before", "this version")
_SAME, _UNSEEN, _NOT_TRIED = "the same", "not checked", "not tried"
_MODELS = "the pocket model, 30 / 200 pictures"
_NO_FILE = "no test of files"


@dataclass(frozen=True)
class Case:
    """One row.

    Attributes
    ----------
    group : str
        The table that it belongs to.
    what : str
        What is tried, in words.
    before : str
        What the version before said.
    now : Callable[[], str]
        Finds out what this one says.
    quick : bool
        Whether it takes seconds.
    """

    group: str
    what: str
    before: str
    now: Callable[[], str]
    quick: bool = True


def cases(work: Path) -> list[Case]:
    """All rows, in the order of the page.

    Parameters
    ----------
    work : Path
        An empty folder for reports and ledgers.

    Returns
    -------
    list[Case]
        Nothing is computed before a case is asked for.
    """
    set_, pictures = owner.scene(work), other.Pictures()
    innocents = _innocents(set_, work, pictures)
    return [*_owners(set_, work), *innocents, *_evasions(set_, work, pictures)]


def _owners(set_: owner.Scene, work: Path) -> list[Case]:
    """How an owner could cheat."""
    found = "coating found"
    rows = (
        ("a key that was read out of the suspect's pictures", found, owner.crafted_key),
        ("the best of a million keys", f"{found} (p = 1e-6)", owner.best_of_a_million),
        ("the best of 10,000 committed keys", "p not corrected", owner.committed_keys),
        ("a coater made to read the message in any picture", found, owner.crafted_reader),
        ("one innocent model after another", "p not corrected", owner.many_models),
        (
            "other prompts for the same model, until they fit",
            "p not corrected",
            file.other_prompts_again,
        ),
        ("the best of 50 recipients", "92 % falsely named at .05", owner.many_recipients),
        ("prompts and seeds chosen afterwards", found, owner.other_prompts),
        ("leaving out pictures that do not fit", found, owner.left_out_pictures),
        ("another seed of the random messages", "another p", owner.another_seed),
        ("a risk that only a laxer test reaches", "the laxer test decided", owner.another_alpha),
        ("leaving out the key", f"{found} by the comparison", owner.withheld_key),
        ("with and without centring, the better one", "no centring", file.both_ways),
        ("a page that says the opposite, sealed again", "check passed", owner.another_page),
        ("a report without its warnings, sealed again", _UNSEEN, file.removed_warnings),
        ("a report with an earlier commitment, sealed again", _UNSEEN, file.earlier_commitment),
        ("a report of the third test as of the first, sealed again", "no count", file.lower_price),
        ("a report signed with a key that nobody knows", "check passed", file.own_signature),
        ("deleting the record of earlier tests", "there was none", owner.deleted_ledger),
        ("changing the record of earlier tests", "there was none", file.changed_ledger),
        ("a random number of one's own as the beacon's", "no beacon", owner.made_up_round),
        (
            "a Bitcoin block of one's own making as a time stamp",
            "no time stamps",
            file.made_up_block,
        ),
        ("opening the bits that fit", "no opening of bits", owner.chosen_half),
        (
            "reading the message from report, coater and pictures",
            "48 bits within 2 minutes",
            owner.read_from_report,
        ),
    )
    decoys = (
        ("without a key, a coater that was chosen afterwards", unkeyed.own_choice),
        ("without a key, decoys that find little", unkeyed.own_decoys),
        ("without a key, one innocent model after another", unkeyed.ranks_counted),
    )
    unkeyed_rows = tuple((what, "no decoys", make) for what, make in decoys)
    opposite = "originals that carry the opposite of the message: the model's file"
    return [
        *(
            Case("owner", what, before, partial(make, set_, work))
            for what, before, make in (*rows, *unkeyed_rows)
        ),
        Case("owner", opposite, _NO_FILE, partial(model.opposite_originals, set_, work), False),
    ]


def _innocents(set_: owner.Scene, work: Path, pictures: other.Pictures) -> list[Case]:
    """Innocent models that were accused."""
    seeds = "another training seed, 1,000 pictures against 4,000 of four clean models"
    looks = "looking after every picture, and stopping at the first find"
    early = "the sequential test, also where likeness could not be judged yet"
    rows = (
        ("pictures saved as JPEG 30", "coating found (p = 3e-8)", other.strong_jpeg),
        ("pictures with 32 levels per channel", "coating found (p = 2e-10)", other.posterised),
        ("pictures with another faint tint", "coating found (p = 2e-19)", other.tinted),
        (
            "30 pictures saved four times each, against 60",
            "counted four times (p = 4e-5 in place of 4e-3)",
            other.saved_again,
        ),
        (
            "eight pictures of another kind",
            "coating found in all draws of 6 to 9 pictures",
            other.few_of_another_kind,
        ),
        ("48 pictures of another kind", "not comparable", other.unlike_pictures),
        (
            "another training seed, 1,000 pictures against 1,000",
            "coating found in 2 % of pairs at 1e-6",
            other.another_training_seed,
        ),
        ("pictures saved as JPEG 30, with the key", "no evidence", other.innocent_key),
        ("pictures with somebody else's coating", "coating found", other.another_coating),
        (
            "pictures with the message that was read from a bundled coater's",
            "coating found",
            other.framed,
        ),
    )
    return [
        *(
            Case("innocent", what, before, partial(make, pictures), quick=False)
            for what, before, make in rows
        ),
        Case("innocent", seeds, _NOT_TRIED, partial(unkeyed.several_models, set_, work)),
        Case("innocent", looks, early, partial(unkeyed.early_stop, set_, work), quick=False),
    ]


def _evasions(set_: owner.Scene, work: Path, pictures: other.Pictures) -> list[Case]:
    """What an infringer could do."""
    rows = (
        ("nothing is done", f"p = 3e-5 / 3e-8 ({_MODELS})", other.as_released),
        ("brighter by 10 %", "no evidence by the comparison", other.brighter),
        ("180 pixels and JPEG 75", f"p = 6e-6 / 2.5e-8 ({_MODELS})", other.platform),
        ("random crops of 75 to 100 %", f"p = .67 / .68 ({_MODELS})", other.cropped),
        ("mirrored pictures", _NOT_TRIED, other.mirrored),
        ("pictures of 256, 192 and 128 pixels", _NOT_TRIED, other.other_sizes),
        ("eight pictures only", _NOT_TRIED, other.few),
        ("pictures that the coater can't read", "no evidence", other.unreadable),
        (
            "reading a bundled coater's message, to write it into other pictures",
            "46 of 48 bits read from 40 pictures",
            other.public_coater,
        ),
    )
    parts = (
        (1.0, "training on the set, all of it coated", "p = 3e-5 / 3e-8"),
        (0.5, "training with half of the set uncoated", _SAME),
        (0.2, "training with 80 % of the set uncoated", "p = .77 / .67"),
        (0.1, "training with 90 % of the set uncoated", _SAME),
    )
    files = (
        ("coated", "training on the set, all of it coated", _NO_FILE),
        ("share_20", "training with 80 % of the set uncoated", _NO_FILE),
        ("share_10", "training with 90 % of the set uncoated", _NO_FILE),
        ("others_20", "training with 80 % other people's images", _NO_FILE),
        ("handled", "cropping, mirroring and JPEG 85 before training", _NO_FILE),
        ("weak", "weak training (rank 8, rate 1e-4)", f"{_NO_FILE}; pictures p = .75 / .71"),
    )
    hidden = "pictures of a kind that reads alike, such as paintings"
    unfound = "no evidence (p = .17, 60 paintings)"
    found = [
        Case("infringer", what, before, partial(make, pictures), quick=False)
        for what, before, make in rows
    ]
    found.append(Case("infringer", hidden, unfound, partial(file.hidden_message, set_, work)))
    found += [
        Case("infringer", what, before, partial(other.share, part)) for part, what, before in parts
    ]
    return found + [
        Case("infringer", f"{what}: the model's file", before, partial(other.preferred, kind))
        for kind, what, before in files
    ]


TITLES = {
    "owner": "**An owner who cheats**",
    "innocent": "**Innocent models**, compared with a reference (48 pictures against 48)",
    "infringer": "**An infringer who evades**, by the keyed test",
}


def tables(found: dict[str, list[tuple[str, str, str]]]) -> str:
    """The tables of the page.

    Parameters
    ----------
    found : dict[str, list[tuple[str, str, str]]]
        Rows by group, in the order of :data:`HEAD`.

    Returns
    -------
    str
        Markdown, with a newline at the end.
    """
    return "\n".join(f"{TITLES[name]}\n\n{table(HEAD, rows)}" for name, rows in found.items())


@app.command()
def cheats(
    out: Annotated[Path, typer.Option("--out", help="Folder for finished rows.")],
    page: Annotated[
        Path | None, typer.Option("--page", help="Page whose tables are replaced.")
    ] = None,
    quick: Annotated[bool, typer.Option("--quick", help="Only rows that take seconds.")] = False,
) -> None:
    """Print what the version before and this one say about every cheat and evasion."""
    out.mkdir(parents=True, exist_ok=True)
    kept = out / "cheats.json"
    done = read_json(kept, error=EvidenceError) if kept.is_file() else {}
    found: dict[str, list[tuple[str, str, str]]] = {}
    with tempfile.TemporaryDirectory(prefix="siren_cheats_") as work:
        for case in cases(Path(work)):
            if quick and not case.quick:
                continue
            if case.what not in done:
                done[case.what] = case.now()
                write_json(kept, done)
            row = (case.what, case.before, done[case.what])
            found.setdefault(case.group, []).append(row)
            say(json.dumps(row, ensure_ascii=False))
    if page is not None:
        write_between(page, "cheats", tables(found))


if __name__ == "__main__":
    app()
