"""Data for the table of models of docs/asreml.md: each a folder of files, as users have them."""

from collections.abc import Callable
from functools import cache
from pathlib import Path

import numpy as np
import pandas as pd
from published import folder

import bayesmv as bmv

#: Yates's split-plot trial of oats (1935), three varieties in whole plots, four levels of nitrogen in subplots.
OATS = {
    "I": {"Victory": (111, 130, 157, 174), "Golden": (117, 114, 161, 141), "Marvellous": (105, 140, 118, 156)},
    "II": {"Victory": (61, 91, 97, 100), "Golden": (70, 108, 126, 149), "Marvellous": (96, 124, 121, 144)},
    "III": {"Victory": (68, 64, 112, 86), "Golden": (60, 102, 89, 96), "Marvellous": (89, 129, 132, 124)},
    "IV": {"Victory": (74, 89, 81, 122), "Golden": (64, 103, 132, 133), "Marvellous": (70, 89, 104, 117)},
    "V": {"Victory": (62, 90, 100, 116), "Golden": (80, 82, 94, 126), "Marvellous": (63, 70, 109, 99)},
    "VI": {"Victory": (53, 74, 118, 113), "Golden": (89, 82, 86, 104), "Marvellous": (97, 99, 119, 121)},
}


def oats() -> dict[str, pd.DataFrame]:
    rows = [
        (block, variety, f"N{k}", y)
        for block, varieties in OATS.items()
        for variety, yields in varieties.items()
        for k, y in enumerate(yields)
    ]
    return {"data.csv": pd.DataFrame(rows, columns=["block", "variety", "nitrogen", "yield"])}


def _effects(rng, labels, sd=1.0):
    names = sorted(set(labels))
    return np.array([dict(zip(names, rng.normal(0.0, sd, len(names)), strict=True))[label] for label in labels])


def strip() -> dict[str, pd.DataFrame]:
    """Strip-plot: rows of one factor cross rows of another in every block."""
    rng = np.random.default_rng(11)
    at = pd.MultiIndex.from_product([range(1, 7), list("abcd"), list("wxyz")], names=["block", "tillage", "crop"])
    data = at.to_frame(index=False)
    data["yield"] = 20.0 + sum(
        _effects(rng, data[list(names)].astype(str).agg(":".join, axis=1))
        for names in (["block"], ["block", "tillage"], ["block", "crop"], ["block", "tillage", "crop"])
    )
    return {"data.csv": data.round(3)}


def met() -> dict[str, pd.DataFrame]:
    """Lines at sites, blocks within sites; kernels of lines (markers) and of sites (weather)."""
    rng = np.random.default_rng(12)
    lines, sites = [f"L{k:02d}" for k in range(1, 19)], ["dry", "mild", "wet"]
    at = pd.MultiIndex.from_product([sites, [1, 2], lines], names=["site", "block", "line"])
    data = at.to_frame(index=False)
    cell = data.astype(str)
    data["yield"] = 5.0 + _effects(rng, cell["line"]) + _effects(rng, cell["site"] + cell["line"], 0.7)
    data["yield"] += _effects(rng, cell["site"] + cell["block"], 0.5) + rng.normal(0.0, 0.8, len(data))
    data["height"] = 80.0 + 4.0 * _effects(rng, cell["line"]) + 3.0 * rng.normal(size=len(data)) + data["yield"]
    data["plot"] = np.arange(len(data)) + 1
    data["row"] = np.arange(len(data)) % 9 + 1
    data["w"] = np.where(data["site"] == "dry", 2.0, 1.0)
    data["known"] = np.where(data["site"] == "wet", 1.5, 0.0)
    markers = pd.DataFrame(rng.integers(0, 3, (18, 60)), index=lines, columns=[f"m{k}" for k in range(60)])
    weather = pd.DataFrame([[1.0, 0.4, 0.1], [0.4, 1.0, 0.5], [0.1, 0.5, 1.0]], index=sites, columns=sites)
    return {
        "data.csv": data.round(4),
        "geno.csv": markers.rename_axis("id").reset_index(),
        "W.csv": weather.rename_axis("site").reset_index(),
    }


def herd() -> dict[str, pd.DataFrame]:
    """Two generations in litters with two records each, some genotyped; a group of founders has another origin."""
    rng = np.random.default_rng(13)
    founders = [f"f{k:02d}" for k in range(12)]
    rows = [(name, "north" if k < 6 else "south", "north" if k < 6 else "south") for k, name in enumerate(founders)]
    rows += [(f"a{k:02d}", founders[k // 4 % 4], founders[4 + k // 4 % 8]) for k in range(48)]
    pedigree = pd.DataFrame(rows, columns=["id", "sire", "dam"])
    data = pedigree.iloc[12:].loc[lambda d: d.index.repeat(2)].reset_index(drop=True)
    data = data.rename(columns={"id": "animal"})
    data["litter"] = data["sire"] + data["dam"]
    data["pen"] = [f"p{k % 8}" for k in range(len(data))]
    data["sex"] = np.where(np.arange(len(data)) % 4 < 2, "f", "m")
    data["age"] = rng.integers(20, 90, len(data))
    for trait, mean in (("weight", 30.0), ("fat", 4.0)):
        parts = _effects(rng, data["animal"]) + _effects(rng, data["dam"], 0.6) + _effects(rng, data["litter"], 0.5)
        data[trait] = mean + parts + rng.normal(0.0, 0.9, len(data)) + 0.02 * data["age"]
    ids = pedigree["id"].iloc[:40]
    markers = pd.DataFrame(rng.integers(0, 3, (40, 50)), columns=[f"m{k}" for k in range(50)])
    markers.insert(0, "id", ids.to_numpy())
    plain = pedigree.assign(sire=pedigree["sire"].where(pedigree["sire"].isin(pedigree["id"])))
    plain["dam"] = pedigree["dam"].where(pedigree["dam"].isin(pedigree["id"]))
    return {"data.csv": data.round(3), "ped.csv": plain, "groups.csv": pedigree, "geno.csv": markers}


def diallel() -> dict[str, pd.DataFrame]:
    """Crosses of eight parents in three blocks, some in both directions."""
    rng = np.random.default_rng(14)
    parents = [f"P{k}" for k in range(1, 9)]
    crosses = [(a, b) for k, a in enumerate(parents) for b in parents[k + 1 :]]
    crosses += [(b, a) for a, b in crosses[::3]]
    data = pd.DataFrame(
        [(block, *cross) for block in (1, 2, 3) for cross in crosses], columns=["block", "male", "female"]
    )
    gca = dict(zip(parents, rng.normal(size=8), strict=True))
    pair = [":".join(sorted(names)) for names in zip(data["male"], data["female"], strict=True)]
    data["yield"] = 10.0 + data["male"].map(gca) + data["female"].map(gca) + _effects(rng, pair, 0.7)
    data["yield"] += _effects(rng, data["block"].astype(str), 0.5) + rng.normal(0.0, 0.8, len(data))
    pedigree = pd.DataFrame({"id": [*parents, "G1", "G2"], "sire": ["G1"] * 4 + [None] * 6, "dam": None})
    return {"data.csv": data.round(3), "ped.csv": pedigree}


def testers() -> dict[str, pd.DataFrame]:
    """Lines crossed with testers in blocks."""
    rng = np.random.default_rng(15)
    at = pd.MultiIndex.from_product([[1, 2, 3], [f"L{k}" for k in range(10)], ["T1", "T2", "T3", "T4", "T5"]])
    data = at.to_frame(index=False, name=["rep", "line", "tester"])
    data["yield"] = 8.0 + _effects(rng, data["line"]) + _effects(rng, data["tester"], 0.6)
    data["yield"] += _effects(rng, data["line"] + data["tester"], 0.5) + rng.normal(0.0, 0.7, len(data))
    return {"data.csv": data.round(3)}


def curves() -> dict[str, pd.DataFrame]:
    """Weights of plants over a season, each its own curve; the same in long form with two traits."""
    rng = np.random.default_rng(16)
    plants, days = [f"p{k:02d}" for k in range(14)], np.arange(2, 44, 4)
    data = pd.MultiIndex.from_product([plants, days]).to_frame(index=False, name=["plant", "day"])
    data["weight"] = np.sin(data["day"] / 9.0) * 2.0 + 0.1 * data["day"] + _effects(rng, data["plant"])
    data["weight"] += _effects(rng, data["plant"], 0.03) * data["day"] + rng.normal(0.0, 0.4, len(data))
    data["leaves"] = 3.0 + 0.2 * data["day"] + _effects(rng, data["plant"]) + rng.normal(0.0, 0.6, len(data))
    data["plot"] = np.arange(len(data)) + 1
    data = data.round(3)
    long = data.melt(["plot", "plant", "day"], ["weight", "leaves"], "trait", "value")
    return {"data.csv": data, "long.csv": long.drop(columns="day").iloc[::-1]}


def shipped(name: str) -> Callable[[], dict[str, pd.DataFrame]]:
    """Data set that comes with the package."""
    return lambda: {"data.csv": bmv.load_dataset(name)}


def gryphon() -> dict[str, pd.DataFrame]:
    home = folder("gryphon")
    return {
        "data.csv": pd.read_csv(home / "data.csv", dtype=str),
        "ped.csv": pd.read_csv(home / "pedigree.csv", dtype=str),
    }


MAKERS = {
    "oats": oats,
    "strip": strip,
    "met": met,
    "herd": herd,
    "diallel": diallel,
    "testers": testers,
    "curves": curves,
    "canty": shipped("canty"),
    "ril": shipped("ril"),
    "gryphon": gryphon,
}


@cache
def files_of(name: str) -> dict[str, str]:
    """Files of a data set, by name."""
    return {file: table.to_csv(index=False) for file, table in MAKERS[name]().items()}


def write_files(name: str, home: Path) -> None:
    """Write the files of a data set to a folder."""
    for file, text in files_of(name).items():
        (home / file).write_text(text, encoding="utf-8")
