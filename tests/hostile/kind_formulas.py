"""Formulas: bad syntax, and attempts to have something executed."""

from __future__ import annotations

from harness import Case, model

_RUN = "__import__('os').system('touch pwned')"

#: Fixed effects that would run something, read a file or ask for the impossible: refused.
EXPLOITS = [
    "1 + {leg.__globals__['__builtins__']['__import__']('os').system('touch pwned') and 0 or age}",
    f"1 + {{{_RUN} or age}}",
    f"1 + I({_RUN} or age)",
    f"1 + {_RUN}",
    f"{_RUN}",
    "1 + C(age, contr.treatment.__init__.__globals__)",
    "1 + age.to_csv('pwned')",
    "1 + age.to_pickle('pwned')",
    "1 + I(np.save('pwned', age))",
    "1 + np.save('pwned', age)",
    "1 + hashed(age, hash_func=print)",
    "1 + hashed(age, levels=10)",
    "1 + (lambda x: x)(age)",
    "1 + I([x for x in age])",
    "1 + I(age[0])",
    "1 + age.__class__",
    "1 + I(age.values)",
    "1 + eval('age')",
    "1 + exec('import os')",
    "1 + open('trial.csv')",
    "1 + getattr(age, 'to_csv')",
    "1 + poly(age, raw=__import__('os'))",
    "1 + poly(age, degree=3, raw=open('pwned', 'w'))",
    "1 + C(sex, levels=['m', 'f'])",
    "1 + `age; touch pwned`",
    "1 + $(touch pwned)",
    "1 + age if age else sex",
    "1 + (age := 1)",
    "1 + f'{age}'",
    "1 + age @ age",
    "1 + log(age, base=print)",
    "1 + leg(age, open('pwned', 'w'))",
    "1 + leg(age, 100000)",
    "1 + leg(age, -1)",
    "1 + leg(age, 2.5)",
    "1 + leg(age, 10**9)",
    "1 + poly(age, 100000)",
    "1 + bs(age, df=1000000)",
    "1 + cs(age)",
    "(age + sex + Block + Family)**50 ** 50",
    "(a+b+c+d)**50",
    "1 + " + "(" * 3000 + "age" + ")" * 3000,
    "1 + " + "-" * 5000 + "age",
    "1 + " + " + ".join(["age"] * 20000) + " +",
]

#: Fixed effects that are not understood: refused.
MALFORMED = [
    "1 + age *",
    "1 + + age",
    "1 + (age",
    "1 + age)",
    "bden ~ age",
    "1 | Block",
    "1 + (1 | Block)",
    "1 + agee",
    "1 + `no such`",
    "1 + `age",
    "1 + ''",
    "1 + 'age'",
    "1 + nosuch(age)",
    "1 + log()",
    "1 + log(sex)",
    "1 + log(age, 2, 3, 4)",
    "1 + scale(sex)",
    "1 + leg(age)",
    "1 + leg(sex, 2)",
    "1 + leg(age, 2, 9, 3)",
    "1 + spl(age, 1)",
    "1 + age/",
    "1 + 3.5",
    "1 + 1e999",
    "1 + age age",
    "1 ; age",
    "1 + age # comment",
    "1 + age\\nsex",
    "1 + at(trait)",
    "1 + at(trait, height):age",
    "1 + at(trait, bden)",
    "1 + at(sex, m):age:",
    "1 + at(trait, bden):agee",
    "1 + mv",
    "!",
    "€",
    "1 + age\\u0000",
    "1 + age\\u200b",
    "1 + ａｇｅ",
    "1 + tree",
    "1 + log(I(age - age))",
    "1 + log(I(0 - age))",
]

#: Random terms and residuals that are not understood: refused.
RANDOM = [
    "Block",
    "us(trait)",
    "us(trait):",
    ":Block",
    "us(trait):Block +",
    "us(trait):Block + us(trait):Block",
    "us(trait:Block",
    "us(trait)):Block",
    "ux(trait):Block",
    "us(trat):Block",
    "us(trait):Blok",
    "us(trait):units",
    "us(trait):vm(Family)",
    "us(trait):vm(Family, A)",
    "us(trait):vm(Family, A, B)",
    "us(trait):vm()",
    "us():Block",
    "us(trait, 3):Block",
    "fa(trait):Block",
    "fa(trait, 0):Block",
    "fa(trait, -1):Block",
    "fa(trait, 99):Block",
    "fa(trait, 1e9):Block",
    "rr(trait, x):Block",
    "ar1(trait):Block:Block",
    "ar1(trait):Block:",
    "us(trait):Block/",
    "us(trait):/Block",
    "us(trait):Block:vm(Family, A):vm(Family, B)",
    "us(trait):overlay(Block)",
    "us(trait):overlay(Block, Block)",
    "us(trait):pair(Block)",
    "us(trait):vm(pair(Block, Family), A)",
    "us(trait):ps(Block, 1)",
    "us(trait):ps(Block, 1e9)",
    "us(trait):ps(bden, 8, 1, 0)",
    "us(trait):ps(Family)",
    "at(Block, nowhere):us(trait):Family",
    "at(nothing):us(trait):Family",
    "at(Block, B1, B1):us(trait):Family",
    "at():us(trait):Family",
    "x = y = us(trait):Family",
    "= us(trait):Family",
    "x = ",
    "Residual = us(trait):Family",
    "`../../x` = us(trait)",
    "us(trait):" + ":".join(["Block"] * 30),
    "str(us(trait):Block",
    "us(leg(age, 2)):Family:",
    "us(leg(age, 100000)):Family",
    "us(leg(agee, 2)):Family",
    "us(leg(sex, 2)):Family",
    "us(spl(age, 1)):Family",
    "at(trait, height):Block",
    "at(trait, bden):",
    "us(trait):Block - us(trait):Family",
    "us(trait):Block * us(trait):Family",
    "us(trait):__import__('os').system('touch pwned')",
    "us(trait):{open('pwned','w')}",
    "fixed(trait, __import__('os').system('touch pwned')):Block",
    "us(trait):" + "(" * 2000 + "Block" + ")" * 2000,
    "+".join(["us(trait):Block"] * 3000),
    "us(trait):Residual",
]

RESIDUAL = [
    "us(trait):Block",
    "us(trait)",
    "ux(trait):units",
    "rr(trait, 1):units",
    "at(sit):us(trait):units",
    "at(trait):us(trait):units",
    "at():us(trait):units",
    "us(trait):units + us(trait):units",
    "id(units)",
    "",
    "at(age, 5):us(trait):units:",
    "fixed(trait, M):units",
]


def _text(formula: str) -> str:
    return '"' + formula.replace('"', '\\"') + '"'


def _short(formula: str) -> str:
    return formula if len(formula) < 60 else f"{formula[:50]}… of {len(formula)}"


def _cases(key: str, formulas: list[str]) -> list[Case]:
    return [Case(name=f"{key}: {_short(text)}", files={"model.toml": model(**{key: _text(text)})}) for text in formulas]


#: Fixed effects that are well formed, if odd: a fit.
FINE = [
    "1 + age",
    "1 + C(age)",
    "1 + leg(age, 2)",
    "1 + log(age)",
    "1 + I(age**2)",
    "1 + scale(age)",
    "0 + sex",
    "sex - 1",
    "1 + sex*age",
    "1 + sex:age",
    "1 + at(trait, bden):age",
    "1 + `age`",
    "  1+age  ",
    "1 + (sex + age)**2",
    "1 + age + age",
    "1 + age ** 1000000",  # a factor crossed with itself is itself
    "1 + age:" + ":".join(["age"] * 2000),
]

CASES = [
    *_cases("fixed", EXPLOITS),
    *_cases("fixed", MALFORMED),
    *_cases("random", RANDOM),
    *_cases("residual", RESIDUAL),
    *(
        Case(
            name=f"fine: {_short(text)}",
            files={"model.toml": model(fixed=_text(text))},
            words="reml {f}/model.toml",
            codes=(0,),
        )
        for text in FINE
    ),
]
