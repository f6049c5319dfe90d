"""Parsing of model formulas in ASReml's words: ``us(trait):Block + at(trait, bden):vm(animal, A)``."""

from __future__ import annotations

from bayesmv.covariance import ALIASES, STRUCTURES
from bayesmv.errors import SpecError
from bayesmv.model import grammar
from bayesmv.model.basis import Basis, parse_basis
from bayesmv.model.grammar import call_parts as _call
from bayesmv.model.grammar import split_top, unquoted
from bayesmv.model.terms import IDE, FixedTerm, Partner, RandomTerm

__all__ = ["parse_fixed", "parse_random", "parse_residual", "parse_traits", "split_top"]


def _require_name(text: str, term: str) -> str:
    name = unquoted(text)
    if name is None:
        raise SpecError(
            f"'{text}' in the term '{term}' is not a column name; a term reads like us(trait):Block, and a name with "
            f"spaces or signs stands in back-quotes"
        )
    return name


def _parse_factor(text: str, term: str) -> tuple[str, str | None]:
    call = _call(text)
    if call is None:
        return _require_name(text, term), None
    word, arguments = call
    if word not in ("vm", "ide") or len(arguments) != (2 if word == "vm" else 1):
        raise SpecError(
            f"'{text}' in the term '{term}' is not understood; "
            f"write a column, vm(column, relationship), ide(column) for levels without relationship, "
            f"or str(vm(animal, A), dam) for effects that covary"
        )
    name = _require_name(arguments[0], term)
    if word == "ide":
        return name, IDE
    relationship = _require_name(arguments[1], term)
    if relationship == IDE:
        raise SpecError(f"'{text}' in the term '{term}': no relationship may be called {IDE}; give it another name")
    return name, relationship


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
        ``…:vm(factor, relationship)``; with one trait also just ``factor``. Effects that covary are
        ``…:str(vm(animal, A), dam)`` and ``…:str(animal, mates(pen))``, random regressions ``us(leg(age, 2)):animal``,
        with several traits ``us(trait:leg(age, 2)):animal``, environments ``us(site):family``. Empty for none.
    n_traits
        Number of traits, which decides whether a bare ``factor`` is clear.

    Raises
    ------
    SpecError
        If a term is not understood, or two terms have the same name.

    Examples
    --------
    >>> [str(t) for t in parse_random("us(trait):Block + us(trait):vm(animal, A)", 2)]
    ['us(trait):Block', 'us(trait):vm(animal, A)']
    """
    if not text.strip():
        return ()
    return tuple(_parse_random_term(part, n_traits) for part in split_top(text, "+"))


def _parse_random_term(text: str, n_traits: int) -> RandomTerm:
    if not text:
        raise SpecError("an empty random term: check for a '+' too many")
    parts = split_top(text, ":")
    prefix = [part for part in parts if _acts_on_traits(part)]
    factors = [part for part in parts if part not in prefix]
    if any((_call(part) or ("", []))[0] in ("leg", "spl", "bs") for part in factors):
        raise SpecError(
            f"the random term '{text}' needs a structure around its covariates, as in us(leg(age, 2)):animal"
        )
    if len(factors) != 1:
        advice = "; make a column of the combinations" if len(factors) > 1 else ""
        raise SpecError(f"the random term '{text}' needs one factor, as in us(trait):Block{advice}")
    if not prefix and n_traits > 1:
        raise SpecError(
            f"the random term '{text}' does not say how it acts on the traits; "
            f"write us(trait):{text} or diag(trait):{text}"
        )
    factor, relationship, partners = _parse_individuals(factors[0], text)
    prefix, basis = _take_basis(prefix, n_traits, text)
    structure, traits = _parse_trait_part(prefix, text, default="us" if partners else "idv")
    return RandomTerm(
        structure=structure, factor=factor, traits=traits, relationship=relationship, partners=partners, basis=basis
    )


def _parse_individuals(text: str, term: str) -> tuple[str, str | None, tuple[Partner, ...]]:
    """Factor, relationship and partners of ``animal``, ``vm(animal, A)`` or ``str(vm(animal, A), dam)``."""
    call = _call(text)
    if call is None or call[0] != "str":
        return (*_parse_factor(text, term), ())
    if len(call[1]) < 2:
        raise SpecError(f"'{text}' in the term '{term}' needs two that covary, as in str(vm(animal, A), dam)")
    factor, relationship = _parse_factor(call[1][0], term)
    partners = tuple(_parse_partner(partner, relationship, term) for partner in call[1][1:])
    labels = [factor, *(partner.label for partner in partners)]
    if len(set(labels)) < len(labels):
        raise SpecError(f"'{text}' in the term '{term}' names the same effects twice")
    return factor, relationship, partners


def _parse_partner(text: str, relationship: str | None, term: str) -> Partner:
    call = _call(text)
    if call is not None and call[0] == "mates" and len(call[1]) in (1, 2):
        column, *power = call[1]
        try:
            dilution = grammar.number(power[0]) if power else 0.0
        except ValueError:
            raise SpecError(f"the dilution '{power[0]}' in the term '{term}' must be a number") from None
        return Partner(column=_require_name(column, term), social=True, dilution=dilution)
    column, own = _parse_factor(text, term)
    if own not in (None, relationship):
        raise SpecError(
            f"'{text}' in the term '{term}' has a relationship of its own; all in str() share that of the first, "
            f"as in str(vm(animal, A), dam)"
        )
    return Partner(column=column)


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


def parse_residual(text: str, n_traits: int) -> tuple[str, str | None]:
    """Structure and column of the groups, if any, of a residual ``structure(trait):units``.

    >>> parse_residual("us(trait):units", 2), parse_residual("at(site):us(trait):units", 2)
    (('us', None), ('us', 'site'))
    """
    parts = split_top(text, ":")
    calls = {part: _call(part) or ("", []) for part in parts}
    grouped = [part for part in parts if calls[part][0] == "at" and len(calls[part][1]) == 1]
    grouped = [part for part in grouped if calls[part][1] != ["trait"] and unquoted(calls[part][1][0])]
    parts = [part for part in parts if part not in grouped]
    if parts.count("units") != 1 or len(parts) > 2 or len(grouped) > 1:
        raise SpecError(
            f"the residual '{text}' is not understood; write for example us(trait):units, or at(site):us(trait):units"
        )
    parts.remove("units")
    if not parts and n_traits > 1:
        raise SpecError(f"the residual '{text}' does not say how it acts on the traits; write us(trait):units")
    structure, traits = _parse_trait_part(parts, text)
    if traits is not None:
        raise SpecError(f"the residual '{text}' must cover all traits; at(trait, …) is not possible there")
    return structure, (unquoted(calls[grouped[0]][1][0]) if grouped else None)


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
