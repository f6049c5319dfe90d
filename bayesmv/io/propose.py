"""First model of a table: what its columns are taken for, and why, as a model file with comments.

Every column gets one role, by its name, its kind and how it lies among the others; the reason is kept in words. What
could as well be otherwise stands in the file as a comment.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd

from bayesmv.arrays import Array, as_frame
from bayesmv.design.written import as_labels, is_numeric_text, to_numbers
from bayesmv.errors import DataError, listing, require_known
from bayesmv.model.basis import is_numeric
from bayesmv.model.grammar import quoted
from bayesmv.model.modelfile import toml_value
from bayesmv.model.spec import ModelSpec
from bayesmv.relationship.labels import NOT_RECORDED, find_labels, is_from_file, is_missing_word
from bayesmv.relationship.pedigree import Pedigree

#: Names of columns by what they may hold, in English, German, French, Spanish and Portuguese.
_NAMES = {
    "sire": r"sire|father|vater|p[eè]re|padre|pai|male[_ ]?parent",
    "dam": r"dam|mother|mutter|m[eè]re|madre|m[aã]e|female|female[_ ]?parent",
    "animal": r"animal|anim|id|ind|individual|tier|pig|calf|cow|sheep|lamb|ring|tag",
    "family": r"fam|family|families|familie|famille|familia|fam[ií]lia|half[_ ]?sib|hs|progeny|cross|mother[_ ]?tree",
    "line": r"line|lines|linie|lign[eé]e|l[ií]nea|linha|geno|genotype|gen|variety|cultivar|clone|accession|entry|sorte"
    r"|vari[eé]t[eé]|variedad|variedade|hybrid|ril|inbred",
    "block": r"block|blk|rep|repl|replicate|replication|bloc|bloque|bloco|wiederholung|iblock|incblock",
    "site": r"site|sites|location|loc|env|environment|trial|standort|lieu|sitio|local|ambiente",
    "group": r"herd|litter|pen|nest|foster[_ ]?nest|brood|cage|flock|tank|batch|box|wurf|port[eé]e|camada|hatch",
    "origin": r"prov|provenance|orig|origin|population|pop|herkunft|procedencia",
    "sex": r"sex|gender|geschlecht|sexe|sexo",
    "year": r"year|yr|byear|birth[_. ]?year|season|jahr|ann[eé]e|a[nñ]o|ano|cohort",
    "age": r"age|days?|dim|alter|[aâ]ge|edad|idade|parity|lact|lactation|hatch[_ ]?date",
    "position": r"x|y|row|col|column|range|rang|lat|lon|latitude|longitude|easting|northing|prow|pcol|fila|columna",
    "unit": r"tree|plot|unit|obs|record|plant|baum|parzelle|parcelle|arbre|[aá]rbol|parcela|no|nr|number|stem|qr|uid",
}
_PATTERNS = {
    role: re.compile(rf"(?:{words})(?:[_ .]?(?:id|no|nr|name))?", re.IGNORECASE) for role, words in _NAMES.items()
}
#: Fewest levels of a random term, most of a fixed factor, most traits that are taken, and different values of one.
_FEW, _MANY, _TRAITS, _VALUES = 5, 12, 3, 8
#: Share of levels that a pedigree has to hold, and correlation from which on two traits are one.
_SHARE, _SAME = 0.9, 0.9999
#: Share of animals with a known sire from which on dams are told from genes.
_SIRES = 0.1


@dataclass(frozen=True, kw_only=True)
class Choice:
    """Guess of what a column is, and why.

    Parameters
    ----------
    column
        The column.
    role
        ``trait``, ``unit``, ``animal``, ``family``, ``line``, ``dam``, ``random``, ``fixed``, ``site`` or ``none``.
    reason
        Why, in words.
    """

    column: str
    role: str
    reason: str


@dataclass(frozen=True, kw_only=True)
class Proposal:
    """First model of a table.

    Parameters
    ----------
    choices
        What every column is taken for.
    entries
        Entries of the model file, in order.
    comments
        What stands beside an entry: why it is so, and what else it might be.
    """

    choices: tuple[Choice, ...]
    entries: Mapping[str, Any]
    comments: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    @property
    def spec(self) -> ModelSpec:
        """The model."""
        return ModelSpec.from_toml(self.to_toml())

    def to_toml(self) -> str:
        """Text of the model file, with comments."""
        lines = ["# A first model, from a look at the table; read it, and change what is not so."]
        tables = {key: value for key, value in self.entries.items() if isinstance(value, Mapping)}
        for key, value in self.entries.items():
            if key not in tables:
                lines += ["", *(f"# {words}" for words in self.comments.get(key, ())), f"{key} = {toml_value(value)}"]
        for key, table in tables.items():
            lines += ["", *(f"# {words}" for words in self.comments.get(key, ())), f"[{key}]"]
            lines += [f"{name} = {toml_value(value)}" for name, value in table.items()]
        unused = [choice for choice in self.choices if choice.role == "none"]
        if unused:
            lines += ["", "# Not used:", *(f"# - {choice.column}: {choice.reason}" for choice in unused)]
        return "\n".join(lines) + "\n"


def propose(
    data: Any,
    pedigree: Any = None,
    *,
    traits: Sequence[str] | None = None,
    data_file: str | None = None,
    pedigree_file: str | None = None,
) -> Proposal:
    """Propose a first model of a table.

    Parameters
    ----------
    data
        The table.
    pedigree
        Pedigree of the animals, or of the families, in it.
    traits
        Traits; by default numeric columns that are nothing else, three at most.
    data_file, pedigree_file
        Names of the files, for the model file.

    Returns
    -------
    Proposal
        With the model (`spec`), its file with comments (`to_toml`), and what every column is taken for (`choices`).

    Raises
    ------
    DataError
        If the table has no trait, or nothing that groups its rows.
    SpecError
        If a trait that is asked for is no column.
    """
    table = as_frame(data, "data")
    require_known(traits or (), table.columns, "the trait {} is not a column of the data; columns")
    kin, named = pedigree, {}
    if pedigree is not None and not isinstance(pedigree, Pedigree):
        frame = as_frame(pedigree, "the pedigree")
        named = _pedigree_columns(frame)
        kin = Pedigree.from_frame(frame, **named)
    look = _Look(table, kin, tuple(traits or ()), data_file, pedigree_file)
    look.named = named
    return look.proposal


def _pedigree_columns(frame: pd.DataFrame) -> dict[str, Any]:
    """Columns of a pedigree by what they are, where they are not called id, sire and dam."""
    out: dict[str, Any] = {}
    for key, role in (("id", "animal"), ("sire", "sire"), ("dam", "dam")):
        if key not in frame.columns:
            named = [name for name in frame.columns if _PATTERNS[role].fullmatch(str(name))]
            if named:
                out[key] = str(named[0])
    return out


class _Column:
    """Column of the table, and what there is to see in it."""

    def __init__(self, values: pd.Series[Any]) -> None:
        self.name = str(values.name)
        file = is_from_file(values)
        missing = is_missing_word(values) if file else values.isna().to_numpy()
        self.there: pd.Series[Any] = values[~missing]
        words = self.there.astype(str).str.lower().isin(list(NOT_RECORDED))
        known = self.there[~words] if file else self.there
        self.numeric = bool(len(known)) and (is_numeric_text(known) if file else is_numeric(known))
        self.numbers: Array = to_numbers(known).to_numpy(dtype=float) if self.numeric else np.empty(0)
        self.labels = pd.Index(as_labels(self.there).unique())
        self.complete = len(self.there) == len(values)
        self.rows = len(values)

    @property
    def whole(self) -> bool:
        """Whether all are whole numbers."""
        return self.numeric and bool((self.numbers == np.round(self.numbers)).all())

    @property
    def unique(self) -> bool:
        """Whether no two rows have the same value."""
        return self.complete and len(self.labels) == self.rows

    def called(self, role: str) -> bool:
        """Whether it has a name that is in use for a role."""
        return bool(_PATTERNS[role].fullmatch(self.name))

    @property
    def per_level(self) -> float:
        """Mean number of rows a level."""
        return len(self.there) / max(len(self.labels), 1)


class _Look:
    """Look at a table, column by column; each gets the first role that fits."""

    def __init__(
        self,
        table: pd.DataFrame,
        pedigree: Pedigree | None,
        traits: tuple[str, ...],
        data_file: str | None,
        pedigree_file: str | None,
    ) -> None:
        self.table, self.pedigree, self.asked = table, pedigree, traits
        self.files = data_file, pedigree_file
        self.named: dict[str, Any] = {}
        self.columns = {str(name): _Column(table[name]) for name in table.columns}
        self.choices: dict[str, Choice] = {}

    def take(self, name: str, role: str, reason: str) -> None:
        """Give a column its role."""
        self.choices[name] = Choice(column=name, role=role, reason=reason)

    @property
    def left(self) -> list[_Column]:
        """Columns without a role."""
        return [c for name, c in self.columns.items() if name not in self.choices and name not in self.asked]

    def of(self, *roles: str) -> list[str]:
        """Columns with some roles, in the order of the table."""
        return [name for name in self.columns if name in self.choices and self.choices[name].role in roles]

    @cached_property
    def proposal(self) -> Proposal:
        """The model, its reasons and its file."""
        for name in self.asked:
            self.take(name, "trait", "asked for")
        self._constant()
        self._animals()
        self._units()
        self._parents()
        self._groups()
        self._fixed()
        self._traits()
        for column in self.left:
            self.take(
                column.name, "none", f"{len(column.labels)} different values, of which nothing tells what they are"
            )
        return self._written()

    def _constant(self) -> None:
        for column in self.left:
            if len(column.labels) < 2:
                self.take(column.name, "none", "the same in all rows" if len(column.labels) else "empty")

    def _animals(self) -> None:
        """Column whose labels the pedigree holds, or that names animals beside columns of parents."""
        if self.pedigree is not None:
            ids = self.pedigree.ids
            held = {c.name: float((find_labels(ids, c.labels) >= 0).mean()) for c in self.left if len(c.labels) >= _FEW}
            own = [name for name, share in held.items() if share >= _SHARE and not self._is_parent(name)]
            # Numbers of other things may be among the ids: a name that is in use, then the most levels.
            own.sort(key=lambda n: (not self.columns[n].called("animal"), -len(self.columns[n].labels)))
            if own:
                name = own[0]
                column = self.columns[name]
                self.take(name, "animal", f"{held[name]:.0%} of its {len(column.labels)} levels are in the pedigree")
            return
        parents = [c.name for c in self.left if self._is_parent(c.name)]
        both = [any(self.columns[n].called(role) for n in parents) for role in ("sire", "dam")]
        named = [c for c in self.left if c.called("animal") and len(c.labels) > 0.3 * c.rows]
        if named and all(both):
            self.take(named[0].name, "animal", "names individuals, and the table has their sires and dams")

    @property
    def _sires_known(self) -> bool:
        """Whether animals of the records have known sires, so that dams are told from genes."""
        if self.pedigree is None:
            return True
        place = find_labels(self.pedigree.ids, self.columns[self.of("animal")[0]].labels)
        return bool((self.pedigree.sire[place[place >= 0]] >= 0).mean() > _SIRES)

    def _is_parent(self, name: str) -> bool:
        return self.columns[name].called("sire") or self.columns[name].called("dam")

    def _units(self) -> None:
        unique = [c for c in self.left if c.unique and (not c.numeric or c.whole) and not c.called("position")]
        unique.sort(key=lambda c: not c.called("unit"))
        named = [c for c in unique if c.called("unit") or c.called("animal") or not c.numeric]
        if named and not self.of("animal"):
            self.take(named[0].name, "unit", f"names each of the {named[0].rows} rows")
        for column in unique:
            counts = column.whole and float(np.ptp(column.numbers)) == column.rows - 1
            if column.name not in self.choices and (column in named or counts):
                self.take(column.name, "none", "another name of the rows")

    def _parents(self) -> None:
        for column in self.left:
            if not self._is_parent(column.name):
                continue
            role = "dam" if column.called("dam") else "sire"
            if self.of("animal"):
                if role == "dam" and column.per_level > 1.5 and self._sires_known:
                    self.take(column.name, "dam", f"{len(column.labels)} dams of {column.per_level:.1f} records each")
                else:
                    alone = role == "dam" and not self._sires_known
                    why = "; beside unknown sires no variance of its own could be told" if alone else ""
                    self.take(column.name, "none", f"the parent is in the pedigree{why}")
            elif len(column.labels) >= _FEW:
                self.take(
                    column.name, "family", f"{len(column.labels)} {role}s, of {column.per_level:.1f} records each"
                )

    def _groups(self) -> None:
        roles = (("family", "family"), ("line", "line"), ("block", "random"), ("group", "random"), ("origin", "fixed"))
        for called, role in roles:
            for column in self.left:
                if not column.called(called) or column.unique:
                    continue
                size = f"{len(column.labels)} levels of {column.per_level:.1f} rows"
                if role in ("family", "line") and self.of("animal", "family", "line"):
                    if len(column.labels) <= _MANY:
                        self.take(column.name, "fixed", f"{size}, beside other genetic groups")
                elif len(column.labels) >= _FEW and role != "fixed":
                    self.take(column.name, role, f"{size}, by its name a {called}")
                elif len(column.labels) < _FEW or role == "fixed":
                    self.take(column.name, "fixed", f"{size}: too few for a variance" if role != "fixed" else size)
        for column in self.left:
            if column.called("site") and 2 <= len(column.labels) <= 4 * _MANY:
                self.take(
                    column.name,
                    "site",
                    f"{len(column.labels)} levels of {column.per_level:.1f} rows, by its name a site",
                )

    def _fixed(self) -> None:
        for column in self.left:
            count = len(column.labels)
            if column.called("position"):
                self.take(column.name, "none", "a position in the field")
            elif column.called("sex") and count <= _FEW:
                self.take(column.name, "fixed", f"{count} levels")
            elif column.called("year"):
                self.take(column.name, "random" if count > _MANY else "fixed", f"{count} years")
            elif column.called("age") and column.numeric and column.complete:
                self.take(column.name, "fixed", "a covariate by its name")
            elif not column.numeric and count <= _MANY and column.complete:
                self.take(column.name, "fixed", f"{count} levels of words")
        for column in self.left:
            if not column.numeric:
                what = f"{len(column.labels)} levels of {column.per_level:.1f} rows"
                random = _FEW <= len(column.labels) <= 0.5 * column.rows and column.complete
                why = f"{what}; words, of which the name does not tell what they are"
                self.take(
                    column.name,
                    "random" if random and not self.of("random", "family", "animal", "line") else "none",
                    why,
                )

    def _traits(self) -> None:
        taken: list[str] = list(self.asked)
        for column in self.left:
            if not column.numeric:
                continue
            values = np.unique(column.numbers)
            if len(values) < _VALUES:
                self.take(column.name, "none", f"{len(values)} different values: no trait with normal residuals")
            elif same := next((name for name in taken if self._same(name, column.name)), None):
                self.take(column.name, "none", f"the trait '{same}' in other units")
            else:
                taken.append(column.name)
                role = "trait" if len(taken) <= _TRAITS and not self.asked else "none"
                said = f"numbers from {values[0]:g} to {values[-1]:g}"
                self.take(column.name, role, said if role == "trait" else f"{said}: a further trait")
        if not self.of("trait"):
            raise DataError(
                f"no column looks like a trait, numbers of {_VALUES} different values or more; name those that are, as "
                f"in --traits y (traits=['y'] in Python); columns: {listing(self.columns)}"
            )

    def _same(self, one: str, other: str) -> bool:
        pair = pd.concat([to_numbers(self.table[name]) for name in (one, other)], axis=1).dropna()
        return len(pair) > 2 and abs(float(np.corrcoef(pair.to_numpy(dtype=float).T)[0, 1])) > _SAME

    # ------------------------------------------------------------ the file

    def _written(self) -> Proposal:
        traits = self.of("trait")
        random, relationship, genetic, notes = self._random(len(traits))
        if not random:
            raise DataError(
                "nothing groups the rows: no animal of a pedigree, family, line or block with several rows was "
                f"recognised; give --pedigree, or write the model by hand; columns: {listing(self.columns)}"
            )
        otherwise = self._otherwise(random, len(traits))
        for site in self.of("site"):
            self.take(site, "fixed", self.choices[site].reason)
        data, _ = self.files
        entries: dict[str, Any] = {"data": data or "data.csv"}
        unit = self.of("unit")
        if unit:
            entries["unit"] = unit[0]
        entries["traits"] = traits
        entries["fixed"] = " + ".join(["1", *map(self._fixed_effect, self.of("fixed"))])
        entries["random"] = " + ".join(random)
        entries["residual"] = "us(trait):units"
        entries |= {key: table for key, table in (("genetic", genetic), *relationship.items()) if table}
        further = [c for c in self.choices.values() if c.reason.endswith("a further trait")]
        also = [f"also: {', '.join(c.column for c in further)}"] if further else []
        comments = {
            "unit": tuple(self._said(unit)),
            "traits": (*self._said(traits), *also),
            "fixed": tuple(self._said(self.of("fixed"))),
            "random": (*notes, *otherwise),
        }
        if genetic:
            comments["genetic"] = (_KINDS[genetic["relationship"]],)
        return Proposal(choices=tuple(self.choices[name] for name in self.columns), entries=entries, comments=comments)

    def _said(self, names: Sequence[str]) -> list[str]:
        return [f"{name}: {self.choices[name].reason}" for name in names]

    def _fixed_effect(self, name: str) -> str:
        column = self.columns[name]
        return f"C({quoted(name)})" if column.numeric and not column.called("age") else quoted(name)

    def _otherwise(self, terms: Sequence[str], t: int) -> list[str]:
        """Other models of the random terms, as lines that can be switched on."""
        kin = self.of("animal", "family", "line")[:1]
        us, inside = ("", "") if t == 1 else ("us(trait):", "trait:")
        out = []

        def instead(old: str, new: str, why: str) -> None:
            changed = [new if term == old else term for term in terms]
            out.append(f"{why}: random = {toml_value(' + '.join(changed))}")

        own = next((term for term in terms if kin and term.removeprefix(us).startswith(("vm(", quoted(kin[0])))), "")
        factor = own.removeprefix(us)
        ages = [n for n in self.of("fixed") if self.columns[n].called("age") and self.columns[n].numeric]
        if own and ages and self.columns[kin[0]].per_level > 1.5:
            instead(own, f"us({inside}leg({quoted(ages[0])}, 1)):{factor}", f"a variance that changes with {ages[0]}")
        for dam in self.of("dam"):
            if own:
                instead(own, f"{us}str({factor}, {quoted(dam)})", "maternal effects that are inherited too")
        blocks = [n for n in self.of("random") if self.columns[n].called("block")]
        for block in blocks:
            if own and self.choices[kin[0]].role != "animal" and self._per_plot(block, kin[0]) > 1.2:
                plots = [*terms, f"{us}{quoted(block)}:{quoted(kin[0])}"]
                out.append(f"a plot of each {kin[0]} in each {block}: random = {toml_value(' + '.join(plots))}")
        for site in self.of("site"):
            if own and t == 1 and f"{quoted(kin[0])}:{quoted(site)}" in terms:
                rest = [term for term in terms if term != f"{quoted(kin[0])}:{quoted(site)}"]
                rest = [f"us({quoted(site)}):{factor}" if term == own else term for term in rest]
                out.append(f"a variance at each {site}, and covariances: random = {toml_value(' + '.join(rest))}")
        return out

    def _per_plot(self, block: str, family: str) -> float:
        """Mean number of rows of a family in a block."""
        return len(self.table) / len(self.table[[block, family]].astype(str).drop_duplicates())

    def _random(self, t: int) -> tuple[list[str], dict[str, dict[str, str]], dict[str, Any], list[str]]:
        """Random terms, their relationship, the genetic table, and why."""
        terms, notes = [], []

        def add(factor: str, levels: int, said: str) -> None:
            few = levels <= t + 1
            structure = "" if t == 1 else "diag(trait):" if few else "us(trait):"
            terms.append(f"{structure}{factor}")
            notes.append(said + ("; too few levels for covariances among traits" if few and t > 1 else ""))

        relationship: dict[str, dict[str, str]] = {}
        genetic: dict[str, Any] = {}
        sites = self.of("site")
        for name in self.of("random"):
            column = self.columns[name]
            nested = next((s for s in sites if self._repeats_within(name, s)), None)
            factor = f"{quoted(nested)}:{quoted(name)}" if nested else quoted(name)
            why = f"; its labels come again at each {nested}, where they are others" if nested else ""
            add(factor, len(column.labels), f"{name}: {self.choices[name].reason}{why}")
        kin = self.of("animal", "family", "line")[:1]
        for name in kin:
            column, role = self.columns[name], self.choices[name].role
            related = role == "animal"
            add(
                f"vm({quoted(name)}, A)" if related else quoted(name),
                len(column.labels),
                f"{name}: {self.choices[name].reason}",
            )
            genetic = {
                "term": name,
                "relationship": "animal" if related else "half-sib" if role == "family" else "line",
            }
            if related:
                relationship["relationships.A"] = self._relationship(name)
                if column.per_level > 1.05:
                    add(f"ide({quoted(name)})", len(column.labels), f"{name}: its permanent environment")
            for site in sites:
                if self._crossed(name, site):
                    add(
                        f"{quoted(name)}:{quoted(site)}",
                        len(column.labels),
                        f"{name}:{site}: does it rank alike at each {site}?",
                    )
        for name in self.of("dam"):
            add(
                quoted(name),
                len(self.columns[name].labels),
                f"{name}: {self.choices[name].reason}; the environment that they give",
            )
        return terms, relationship, genetic, notes

    def _relationship(self, animal: str) -> dict[str, str]:
        data, pedigree = self.files
        if self.pedigree is not None:
            return {"pedigree": pedigree or "pedigree.csv", **self.named}
        parents = {r: next(n for n in self.columns if self.columns[n].called(r)) for r in ("sire", "dam")}
        return {"pedigree": data or "data.csv", "id": animal, **parents}

    def _crossed(self, one: str, other: str) -> bool:
        """Whether levels of a column stand at several of another."""
        pairs = self.table[[one, other]].astype(str).drop_duplicates()
        return bool(pairs.groupby(one).size().mean() > 1.5)

    def _repeats_within(self, block: str, site: str) -> bool:
        """Whether the labels of blocks are used again at each site."""
        return self._crossed(block, site)


#: What the variance of the genetic term stands for.
_KINDS = {
    "animal": "animal: V_A is the variance of the term",
    "half-sib": 'half-sib: V_A is 4 times the variance of the term; of full sibs it is "full-sib", 2 times',
    "line": 'line: the variance of the term is that of genotypes; of open-pollinated families it is "half-sib"',
}
