"""Parsing of model formulas in ASReml's words: ``us(trait):Block + at(trait, bden):vm(animal, A)``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import product

from bayesmv.covariance import ALIASES, STRUCTURES
from bayesmv.errors import SpecError, require_known
from bayesmv.model import grammar
from bayesmv.model.basis import Basis, parse_basis, parse_trend
from bayesmv.model.factors import IDE, Column, Factor, Overlay, Pair, SmoothTrend
from bayesmv.model.grammar import call_parts as _call
from bayesmv.model.grammar import split_top, unquoted
from bayesmv.model.terms import Condition, FixedTerm, Partner, RandomTerm

__all__ = ["parse_fixed", "parse_named", "parse_random", "parse_residual", "parse_traits", "split_top"]


def _require_name(text: str, term: str) -> str:
    name = unquoted(text)
    if name is None:
        raise SpecError(
            f"'{text}' in the term '{term}' is not a column name; a term reads like us(trait):Block, and a name with "
            f"spaces or signs stands in back-quotes"
        )
    return name


def _parse_factor(text: str, term: str) -> Factor:
    """Factor of ``block``, ``vm(animal, A)``, ``ide(animal)``, ``overlay(sire, dam)`` and so on."""
    word, arguments = _call(text) or ("", [])
    if word in ("vm", "ide"):
        if len(arguments) != (2 if word == "vm" else 1):
            raise _not_understood(text, term)
        factor = _parse_levels(arguments[0], term)
        if isinstance(factor, SmoothTrend):
            raise SpecError(f"'{text}' in the term '{term}': the coefficients of a spline have no relationship")
        relationship = IDE if word == "ide" else _require_name(arguments[1], term)
        if word == "vm" and relationship == IDE:
            raise SpecError(f"'{text}' in the term '{term}': no relationship may be called {IDE}; give it another name")
        return replace(factor, relationship=relationship)
    return _parse_levels(text, term)


def _parse_levels(text: str, term: str) -> Factor:
    call = _call(text)
    if call is None:
        return Column(column=_require_name(text, term))
    word, arguments = call
    if word == "ps":
        return SmoothTrend(spline=parse_trend(arguments, text, term))
    if word not in ("overlay", "pair"):
        raise _not_understood(text, term)
    roles = tuple(_require_name(argument, term) for argument in arguments)
    if len(set(roles)) < len(roles) or len(roles) < 2 or (word == "pair" and len(roles) > 2):
        number = "two different columns" if word == "pair" else "two or more different columns"
        raise SpecError(f"'{text}' in the term '{term}' needs {number}, as in {word}(sire, dam)")
    return Overlay(roles=roles) if word == "overlay" else Pair(roles=(roles[0], roles[1]))


def _not_understood(text: str, term: str) -> SpecError:
    return SpecError(
        f"'{text}' in the term '{term}' is not understood; "
        f"write a column, vm(column, relationship), ide(column) for levels without relationship, overlay(sire, dam) "
        f"for one effect in either role, pair(sire, dam), ps(day) for a smooth trend, "
        f"or str(vm(animal, A), dam) for effects that covary"
    )


def _parse_trait_part(parts: list[str], term: str, default: str = "idv") -> tuple[str, tuple[str, ...] | None]:
    structure, traits = _scan_trait_part(parts, term)
    if structure is None and traits is not None and len(traits) > 1:
        raise SpecError(
            f"the term '{term}' needs a structure for its traits, for example {term.replace('):', '):us(trait):', 1)}"
        )
    return structure or default, traits


def _scan_trait_part(parts: list[str], term: str) -> tuple[str | None, tuple[str, ...] | None]:
    """Structure and traits that the parts of a term before its factor state; None for what they do not."""
    structure: str | None = None
    traits: tuple[str, ...] | None = None
    for part in parts:
        word, arguments = _call(part) or (part, [])
        if word == "at" and len(arguments) >= 2 and arguments[0] == "trait" and traits is None:
            traits = _different([_require_name(a, term) for a in arguments[1:]], term)
        elif word != "at" and arguments[:1] == ["trait"] and structure is None:
            structure = _known_structure(word, arguments[1:], term)
        else:
            raise SpecError(
                f"'{part}' in the term '{term}' is not understood; "
                f"write structure(trait), for example us(trait), or at(trait, name)"
            )
    return structure, traits


def _different(traits: list[str], term: str) -> tuple[str, ...]:
    if len(set(traits)) < len(traits):
        raise SpecError(f"the term '{term}' names a trait twice in at(trait, …)")
    return tuple(traits)


def _known_structure(word: str, arguments: list[str], term: str) -> str:
    if word not in STRUCTURES and word not in ALIASES:
        known = ", ".join(sorted([*STRUCTURES, *ALIASES]))
        raise SpecError(f"unknown covariance structure '{word}' in the term '{term}'; known structures: {known}")
    return ALIASES.get(word, word) + (f"({', '.join(arguments)})" if arguments else "")


def parse_random(text: str, n_traits: int) -> tuple[RandomTerm, ...]:
    """Random terms of a model, read from its words.

    Parameters
    ----------
    text
        Terms joined by ``+``: ``structure(trait):factor``, ``at(trait, name):factor``,
        ``…:vm(factor, relationship)``; with one trait also just ``factor``. Products of factors are ``…:Block:Family``,
        and ``…:site/Block`` stands for ``…:site + …:site:Block``. ``at(site, A):…`` is for the records of one level,
        ``at(site):…`` a term at each. Effects that covary are ``…:str(vm(animal, A), dam)`` and
        ``…:str(animal, mates(pen))``, one effect in several roles is ``…:overlay(sire, dam)``, pairs without order are
        ``…:pair(sire, dam)``, smooth trends ``…:ps(day)``. Random regressions are ``us(leg(age, 2)):animal``,
        with several traits ``us(trait:leg(age, 2)):animal``, environments ``us(site):family``. A name stands before a
        term, ``dominance = us(trait):vm(id, D)``. Empty for none.
    n_traits
        Number of traits, which decides whether a bare ``factor`` is clear.

    Raises
    ------
    SpecError
        If a term is not understood.

    Examples
    --------
    >>> [str(t) for t in parse_random("us(trait):Block + us(trait):vm(animal, A)", 2)]
    ['us(trait):Block', 'us(trait):vm(animal, A)']
    >>> [t.name for t in parse_random("site/Block", 1)]
    ['site', 'site:Block']
    """
    if not text.strip():
        return ()
    return tuple(term for part in split_top(text, "+") for term in _parse_random_part(part, n_traits))


def parse_named(name: str, text: str, n_traits: int) -> RandomTerm:
    """Random term with a name that was given to it, as :func:`parse_random` reads one.

    Raises
    ------
    SpecError
        If it is not understood, has a name already, or stands for several terms.
    """
    terms = parse_random(text, n_traits)
    if len(terms) != 1 or terms[0].given is not None:
        raise SpecError(f"the term '{name}' must be one random term without another name, not '{text}'")
    return replace(terms[0], given=name, name="")


def _parse_random_part(text: str, n_traits: int) -> list[RandomTerm]:
    """Terms that one part of a sum stands for: several where factors are nested, or levels of a condition listed."""
    given, bare = _take_name(text)
    whole, *inner = split_top(bare, "/")
    parts = split_top(whole, ":")
    conditions = [_listed_conditions(part, bare) for part in parts if _is_condition(part)]
    parts = [part for part in parts if not _is_condition(part)]
    prefix = [part for part in parts if _acts_on_traits(part)]
    factors = [part for part in parts if part not in prefix]
    if not factors and prefix and (identity := _independent(prefix[-1])):  # ASReml's us(trait):id(Block)
        prefix, factors = prefix[:-1], [identity]
    _check_parts(factors, prefix, bare, n_traits)
    nested = [factors]
    for piece in inner:
        nested.append([*nested[-1], *split_top(piece, ":")])
    terms = [
        replace(_parse_random_term(prefix, each, bare, n_traits), conditions=chosen)
        for chosen in product(*conditions)
        for each in nested
    ]
    if given is not None and len(terms) > 1:
        raise SpecError(f"'{text}' gives one name to {len(terms)} terms; write each by itself")
    return [replace(term, given=given, name="") for term in terms]


def _take_name(text: str) -> tuple[str | None, str]:
    """Name that stands before a term, if one does, and the term."""
    if not text:
        raise SpecError("an empty random term: check for a '+' too many")
    name, *rest = split_top(text, "=")
    if not rest:
        return None, text
    given = unquoted(name)
    if given is None or len(rest) > 1 or not rest[0]:
        raise SpecError(f"'{text}' is not understood; a name stands before a term, as in D = us(trait):vm(id, D)")
    return given, rest[0]


def _is_condition(part: str) -> bool:
    word, arguments = _call(part) or ("", [])
    return word == "at" and arguments[:1] != ["trait"]


def _listed_conditions(part: str, term: str) -> list[Condition]:
    """Conditions of ``at(site)``, ``at(site, A)`` or ``at(site, A, B)``, which is one after the other."""
    column, *levels = (_call(part) or ("", [""]))[1]
    name = _require_name(column, term)
    if not all(levels) or len(set(levels)) < len(levels):
        raise SpecError(f"'{part}' in the term '{term}' names a level twice, or an empty one")
    named = [level if (bare := unquoted(level)) is None else bare for level in levels]
    return [Condition(column=name, level=level) for level in named] or [Condition(column=name)]


def _independent(part: str) -> str | None:
    """Factor of ``id(factor)`` or ``idv(factor)``, as ASReml writes independent levels."""
    word, arguments = _call(part) or ("", [])
    return arguments[0] if word in ("id", "idv") and len(arguments) == 1 and arguments != ["trait"] else None


def _check_parts(factors: list[str], prefix: list[str], term: str, n_traits: int) -> None:
    if any((_call(part) or ("", []))[0] in ("leg", "spl", "bs") for part in factors):
        raise SpecError(
            f"the random term '{term}' needs a structure around its covariates, as in us(leg(age, 2)):animal"
        )
    if not factors:
        raise SpecError(f"the random term '{term}' needs a factor, as in us(trait):Block")
    if "trait" in factors:
        raise SpecError(f"'trait' in the random term '{term}' stands inside a structure, as in us(trait):Block")
    if not prefix and n_traits > 1:
        raise SpecError(
            f"the random term '{term}' does not say how it acts on the traits; "
            f"write us(trait):{term} or diag(trait):{term}"
        )


def _parse_random_term(prefix: list[str], factors: list[str], term: str, n_traits: int) -> RandomTerm:
    if len(factors) == 1:
        first, partners = _parse_individuals(factors[0], term)
        read: tuple[Factor, ...] = (first,)
    else:
        read, partners = tuple(_parse_factor(factor, term) for factor in factors), ()
    if len(set(map(str, read))) < len(read):
        raise SpecError(f"the random term '{term}' names a factor twice")
    plain, basis = _take_basis(prefix, n_traits, term)
    structure, traits = _parse_trait_part(plain, term, default="us" if partners else "idv")
    return RandomTerm(structure=structure, factors=read, traits=traits, partners=partners, basis=basis)


def _parse_individuals(text: str, term: str) -> tuple[Factor, tuple[Partner, ...]]:
    """Factor and partners of ``animal``, ``vm(animal, A)`` or ``str(vm(animal, A), dam)``."""
    call = _call(text)
    if call is None or call[0] != "str":
        return _parse_factor(text, term), ()
    if len(call[1]) < 2:
        raise SpecError(f"'{text}' in the term '{term}' needs two that covary, as in str(vm(animal, A), dam)")
    factor = _parse_factor(call[1][0], term)
    if not isinstance(factor, Column):
        raise SpecError(f"'{call[1][0]}' in the term '{term}' is not a column; str() is of animals and those they meet")
    partners = tuple(_parse_partner(partner, factor.relationship, term) for partner in call[1][1:])
    labels = [factor.column, *(partner.label for partner in partners)]
    if len(set(labels)) < len(labels):
        raise SpecError(f"'{text}' in the term '{term}' names the same effects twice")
    return factor, partners


def _parse_partner(text: str, relationship: str | None, term: str) -> Partner:
    call = _call(text)
    if call is not None and call[0] == "mates" and len(call[1]) in (1, 2):
        column, *power = call[1]
        try:
            dilution = grammar.number(power[0]) if power else 0.0
        except ValueError:
            raise SpecError(f"the dilution '{power[0]}' in the term '{term}' must be a number") from None
        return Partner(column=_require_name(column, term), social=True, dilution=dilution)
    factor = _parse_factor(text, term)
    if not isinstance(factor, Column):
        raise SpecError(f"'{text}' in the term '{term}' is not a column; str() is of animals and those they meet")
    if factor.relationship not in (None, relationship):
        raise SpecError(
            f"'{text}' in the term '{term}' has a relationship of its own; all in str() share that of the first, "
            f"as in str(vm(animal, A), dam)"
        )
    return Partner(column=factor.column)


def _take_basis(prefix: list[str], n_traits: int, term: str) -> tuple[list[str], Basis | None]:
    """Prefix with ``trait`` in place of a basis, ``us(leg(age, 2))`` or ``us(trait:leg(age, 2))``, and the basis."""
    plain, basis = [], None
    restricted = [part for part in prefix if (_call(part) or ("", []))[0] == "at"]
    for part in prefix:
        word, arguments = _call(part) or (part, [])
        inside = split_top(arguments[0], ":") if arguments and part not in restricted else ["trait"]
        crossed, functions = inside[0] == "trait", [name for name in inside if name != "trait"]
        if not functions:
            plain.append(part)
            continue
        n_acted = len((_call(restricted[0]) or ("", []))[1]) - 1 if restricted else n_traits
        if len(functions) > 1 or basis is not None or not (crossed or n_acted == 1):
            raise SpecError(
                f"'{part}' in the term '{term}' is not understood; write structure(trait), for example {word}(trait), "
                f"or {word}(trait:{functions[0]}) for effects of a covariate on every trait"
            )
        basis = parse_basis(functions[0], term)
        plain.append(f"{word}({', '.join(['trait', *arguments[1:]])})")
    return plain, basis


def _acts_on_traits(part: str) -> bool:
    """Whether a part of a term is ``structure(trait)`` or ``at(trait, …)``, not a factor."""
    call = _call(part)
    if call is None:
        return False
    crossed = call[1][0].startswith(("trait:", "trait :"))
    return crossed or call[1][0] == "trait" or call[0] in STRUCTURES or call[0] in ALIASES


def parse_residual(text: str, n_traits: int) -> tuple[str, tuple[str, ...]]:
    """Structure and columns of the groups, if any, of a residual ``structure(trait):units``.

    Covariances among some traits only are structures of sets of traits, ``us(a, b):units + idv(c):units``, or
    ``at(trait, a, b):us(trait):units + at(trait, c):units``; what the sets are is kept as ``us(a, b) + idv(c)``. Groups
    of several columns are ``at(site:year):us(trait):units``.

    >>> parse_residual("us(trait):units", 2), parse_residual("at(site):us(trait):units", 2)
    (('us', ()), ('us', ('site',)))
    >>> parse_residual("us(a, b):units + idv(c):units", 3)
    ('us(a, b) + idv(c)', ())
    """
    pieces = split_top(text, "+")
    read = [_parse_residual_part(piece, text, n_traits) for piece in pieces]
    groups = {by for _, by in read}
    if len(groups) > 1:
        raise SpecError(f"the residual '{text}' has groups in some of its parts only; write at(…) before each")
    if len(read) == 1 and "(trait" not in read[0][0] and not _trait_set(read[0][0]):
        return read[0][0], groups.pop()
    return " + ".join(part for part, _ in read), groups.pop()


def _trait_set(part: str) -> bool:
    """Whether a structure as written names traits, ``us(a, b)``."""
    arguments = (_call(part) or ("", [""]))[1]
    return unquoted(arguments[0]) is not None


def _parse_residual_part(piece: str, text: str, n_traits: int) -> tuple[str, tuple[str, ...]]:
    """Structure and groups of one part of a residual; of some traits as ``us(a, b)``."""
    parts = split_top(piece, ":")
    grouped = [part for part in parts if _is_condition(part) and len((_call(part) or ("", []))[1]) == 1]
    parts = [part for part in parts if part not in grouped]
    if parts.count("units") > 1 or len(parts) > 3 or len(grouped) > 1:
        raise _bad_residual(text)
    sets = [part for part in parts if part != "units" and _is_set(part)]
    if "units" not in parts and not sets:
        raise _bad_residual(text)
    parts = [part for part in parts if part != "units"]
    by = tuple(_require_name(name, text) for name in _grouping_columns(grouped))
    if sets:
        if len(parts) > 1:
            raise _bad_residual(text)
        word, arguments = _call(sets[0]) or ("", [])
        _known_structure(word, [], text)
        return f"{ALIASES.get(word, word)}({', '.join(arguments)})", by
    if not parts and n_traits > 1:
        raise SpecError(f"the residual '{text}' does not say how it acts on the traits; write us(trait):units")
    if len(parts) > 2 or any(_call(part) is None and part != "trait" for part in parts):
        raise _bad_residual(text)
    structure, traits = _parse_trait_part(parts, piece)
    if traits is None:
        return structure, by
    word, bracket, rest = structure.partition("(")
    named = ", ".join([*map(grammar.quoted, traits), *([rest[:-1]] if bracket else [])])
    return f"{word}({named})", by


def _is_set(part: str) -> bool:
    """Whether a part is a structure of a set of traits, ``us(a, b)``, rather than of all."""
    word, arguments = _call(part) or ("", [])
    known = word in STRUCTURES or word in ALIASES
    return known and bool(arguments) and arguments[0] != "trait" and unquoted(arguments[0]) is not None


def _grouping_columns(grouped: list[str]) -> list[str]:
    """Columns of ``at(site)`` or ``at(site:year)``."""
    return [name for part in grouped for name in split_top((_call(part) or ("", [""]))[1][0], ":")]


def _bad_residual(text: str) -> SpecError:
    return SpecError(
        f"the residual '{text}' is not understood; write for example us(trait):units, at(site):us(trait):units, or "
        f"us(a, b):units + idv(c):units"
    )


def residual_sets(text: str, traits: Sequence[str]) -> list[tuple[str, tuple[str, ...]]]:
    """Structures of a residual with the traits that each is of, ``us(a, b) + fa(c, d, 1)``.

    Raises
    ------
    SpecError
        If a trait is in no set, or in two.
    """
    out = []
    for part in split_top(text, "+"):
        word, arguments = _call(part) or (part, [])
        names = [unquoted(argument) for argument in arguments]
        count = next((k for k, name in enumerate(names) if name not in traits), len(names))
        mine = tuple(str(name) for name in names[:count])
        if mine and word not in ("fixed", "scaled"):
            strangers = [name for name in names[count:] if name is not None]
            require_known(strangers, traits, f"the residual '{text}' names {{}}, which is not a trait; traits")
        rest = f"({', '.join(arguments[count:])})" if arguments[count:] else ""
        out.append((word + rest, mine or (tuple(traits) if "+" not in text else ())))
    named = [trait for _, mine in out for trait in mine]
    wrong = [trait for trait in dict.fromkeys([*traits, *named]) if named.count(trait) != 1]
    if wrong or any(not mine for _, mine in out):
        raise SpecError(
            f"the sets of traits of the residual '{text}' must hold each trait once: {', '.join(map(repr, wrong))} "
            f"is in none of them or in two; traits: {', '.join(map(repr, traits))}"
        )
    return out


def parse_traits(text: str) -> tuple[str, ...]:
    """Traits on the left of a formula; a name in back-quotes loses them.

    >>> parse_traits("bden + `stem volume`")
    ('bden', 'stem volume')
    """
    return tuple(name if (name := unquoted(part)) is not None else part for part in split_top(text, "+"))


def parse_fixed(text: str) -> tuple[FixedTerm, ...]:
    """Fixed effects, split into the formula common to all traits and those restricted by ``at(trait, …):``.

    What stands after a ``-`` is taken out of the common formula, and of the restricted ones before it.

    Raises
    ------
    SpecError
        If a part is not in the grammar, :mod:`bayesmv.model.grammar`.

    Examples
    --------
    >>> [str(t) for t in parse_fixed("1 + sex + at(trait, bden):age")]
    ['1 + sex', 'at(trait, bden):age']
    """
    common: list[str] = []
    restricted: list[FixedTerm] = []
    for sign, part in _signed_parts(text):
        if (_call(split_top(part, ":")[0]) or ("", []))[0] != "at":
            # The first sign is written only where it is a minus.
            common.append(f"{sign} {part}" if common or sign == "-" else part)
            if sign == "-":
                restricted = _without(restricted, part)
        elif sign == "-":
            raise SpecError(
                f"'- {part}' takes an effect from some traits; write it with at(trait, …) for those that have it"
            )
        else:
            restricted.append(_restricted(part))
    means_stated = any(term.formula == "1" for term in restricted)
    formula = " ".join(common) or ("0" if means_stated else "1")
    return (FixedTerm(formula=formula), *restricted)


def _signed_parts(text: str) -> list[tuple[str, str]]:
    """Parts of a sum with the signs before them."""
    pieces = grammar.split_signs(text)
    if pieces and not pieces[0][1] and len(pieces) > 1:
        pieces = pieces[1:]  # a sign before the first
    for sign, part in pieces:
        if not part:
            raise SpecError(f"an empty fixed term in '{text}': check for a '{sign}' too many")
    return pieces


def _restricted(part: str) -> FixedTerm:
    head, *rest = split_top(part, ":")
    _, traits = _scan_trait_part([head], part)
    if not rest:
        raise SpecError(f"'{part}' restricts nothing; write at(trait, name):effect")
    return FixedTerm(formula=":".join(rest), traits=traits)


def _without(restricted: list[FixedTerm], part: str) -> list[FixedTerm]:
    """Restricted effects less those that a part names; those that name none of them stay as written."""
    gone = grammar.expand(grammar.parse(part), intercept=False)
    out = []
    for term in restricted:
        left = {key: factors for key, factors in term.expanded.items() if key not in gone}
        if len(left) == len(term.expanded):
            out.append(term)
        elif left:
            formula = " + ".join(":".join(map(str, factors)) or "1" for factors in left.values())
            out.append(FixedTerm(formula=formula, traits=term.traits))
    return out
