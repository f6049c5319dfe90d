"""Tables of textbooks, typed: records, pedigrees, and the solutions and relationships that the books print.

Examples 4.1 to 10.2 are of Mrode & Pocrnic (2023), Linear Models for the Prediction of the Genetic Merit of Animals,
4th edition, CABI (3.1, 4.1, 5.1, 5.2, 7.1 and 9.2 of the 3rd edition). Solutions under "blupf90" are those that
Masuda's BLUPF90 tutorial prints of the same examples, with more digits. Small pedigrees: Mrode (2005), examples 2.1
and 9.1; Fernando & Grossman (1990), Theor Appl Genet 80:75-80; Wray (1990), Biometrics 46:177-186.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pandas as pd


class Printed(NamedTuple):
    """A printed number of an example: its name, the digits, those of its standard error if there is one, and where."""

    quantity: str
    text: str
    error: str
    source: str


def records(example: str) -> pd.DataFrame:
    """Records of an example."""
    header, *rows = (line.split() for line in RECORDS[example].strip().splitlines())
    return pd.DataFrame(rows, columns=header).replace(".", np.nan).apply(_numbers)


def pedigree(name: str) -> pd.DataFrame:
    """Pedigree of an example, or a small one by name; unknown parents are missing."""
    rows = [line.split() for line in PEDIGREES[name].split(",")]
    return pd.DataFrame(rows, columns=["id", "sire", "dam"]).replace("0", np.nan).apply(_numbers)


def _numbers(column: pd.Series) -> pd.Series:
    return column if column.dropna().str.isalpha().any() else pd.to_numeric(column)


def relationship(name: str) -> pd.DataFrame:
    """A of a small pedigree, exact."""
    labels, *rows = (line.split() for line in RELATIONSHIPS[name].strip().splitlines())
    ids = [int(label) for label in labels]
    packed = [[float(value) for value in row] for row in rows]
    A = np.array([row + [0.0] * (len(ids) - len(row)) for row in packed])
    return pd.DataFrame(A + np.tril(A, -1).T, index=ids, columns=ids)


def solutions(example: str) -> list[Printed]:
    """Every number that is printed of an example."""
    out = []
    for source, text in SOLUTIONS[example].items():
        for entry in text.replace("\n", " ").split(";"):
            quantity, value, *error = (word.strip() for word in entry.split(","))
            out.append(Printed(quantity, value, error[0] if error else "", source))
    return out


RECORDS = {
    "4.1": """
        animal sex wwg
        4 M 4.5
        5 F 2.9
        6 F 3.9
        7 M 3.5
        8 M 5.0
    """,
    "5.1": """
        cow parity hys fat
        4 1 1 201.0
        4 2 3 280.0
        5 1 1 150.0
        5 2 4 200.0
        6 1 2 160.0
        6 2 3 190.0
        7 1 1 180.0
        7 2 3 250.0
        8 1 2 285.0
        8 2 4 300.0
    """,
    "6.1": """
        animal sex wwg pwg
        4 M 4.5 6.8
        5 F 2.9 5.0
        6 F 3.9 6.8
        7 M 3.5 6.0
        8 M 5.0 7.5
    """,
    "6.2": """
        animal sex wwg pwg
        4 M 4.5 .
        5 F 2.9 5.0
        6 F 3.9 6.8
        7 M 3.5 6.0
        8 M 5.0 7.5
        9 F 4.0 .
    """,
    "8.1": """
        calf dam herd pen birth_weight
        5 2 1 1 35.0
        6 2 1 2 20.0
        7 6 1 2 25.0
        8 5 1 1 40.0
        9 6 2 1 42.0
        10 2 2 2 22.0
        11 7 2 2 35.0
        12 7 3 2 34.0
        13 2 3 1 20.0
        14 6 3 2 40.0
    """,
    "10.2": """
        cow dim htd fat
        4 4 1 17.0
        4 38 2 18.6
        4 72 3 24.0
        4 106 4 20.0
        4 140 5 20.0
        4 174 6 15.6
        4 208 7 16.0
        4 242 8 13.0
        4 276 9 8.2
        4 310 10 8.0
        5 4 1 23.0
        5 38 2 21.0
        5 72 3 18.0
        5 106 4 17.0
        5 140 5 16.2
        5 174 6 14.0
        5 208 7 14.2
        5 242 8 13.4
        5 276 9 11.8
        5 310 10 11.4
        6 4 6 10.4
        6 38 7 12.3
        6 72 8 13.2
        6 106 9 11.6
        6 140 10 8.4
        7 4 4 22.8
        7 38 5 22.4
        7 72 6 21.4
        7 106 7 18.8
        7 140 8 18.3
        7 174 9 16.2
        7 208 10 15.0
        8 4 1 22.2
        8 38 2 20.0
        8 72 3 21.0
        8 106 4 23.0
        8 140 5 16.8
        8 174 6 11.0
        8 208 7 13.0
        8 242 8 17.0
        8 276 9 13.0
        8 310 10 12.6
    """,
}

#: Id, sire and dam; 0 for unknown.
PEDIGREES = {
    "4.1": "1 0 0, 2 0 0, 3 0 0, 4 1 0, 5 3 2, 6 1 2, 7 4 5, 8 3 6",
    "5.1": "1 0 0, 2 0 0, 3 0 0, 4 1 2, 5 3 2, 6 1 5, 7 3 4, 8 1 7",
    "6.1": "1 0 0, 2 0 0, 3 0 0, 4 1 0, 5 3 2, 6 1 2, 7 4 5, 8 3 6",
    "6.2": "1 0 0, 2 0 0, 3 0 0, 4 1 0, 5 3 2, 6 1 2, 7 4 5, 8 3 6, 9 7 0",
    "8.1": "1 0 0, 2 0 0, 3 0 0, 4 0 0, 5 1 2, 6 3 2, 7 4 6, 8 3 5, 9 1 6, 10 3 2, 11 3 7, 12 8 7, 13 9 2, 14 3 6",
    "10.2": "1 0 0, 2 0 0, 3 0 0, 4 1 2, 5 3 2, 6 1 5, 7 3 4, 8 1 7",
    "Mrode2": "1 0 0, 2 0 0, 3 1 2, 4 1 0, 5 4 3, 6 5 2",
    "Mrode9": "2 0 0, 4 0 0, 1 0 0, 3 0 0, 5 1 2, 6 3 4, 7 6 5, 8 0 5, 9 3 8, 10 3 8, 11 6 8, 12 6 8",
    "FG90": "1 0 0, 2 0 0, 3 1 0, 4 1 2, 5 3 4, 6 1 4, 7 5 6, 8 5 6",
    "Wray90": "1 0 0, 2 0 0, 3 2 1, 4 2 1, 5 3 4, 6 2 4, 7 5 6, 8 5 7",
}

#: Labels, and the lower triangle.
RELATIONSHIPS = {
    "Mrode2": """
        1 2 3 4 5 6
        1
        0 1
        0.5 0.5 1
        0.5 0 0.25 1
        0.5 0.25 0.625 0.625 1.125
        0.25 0.625 0.5625 0.3125 0.6875 1.125
    """,
    "Mrode9": """
        2 4 1 3 5 6 7 8 9 10 11 12
        1
        0 1
        0 0 1
        0 0 0 1
        0.5 0 0.5 0 1
        0 0.5 0 0.5 0 1
        0.25 0.25 0.25 0.25 0.5 0.5 1
        0.25 0 0.25 0 0.5 0 0.25 1
        0.125 0 0.125 0.5 0.25 0.25 0.25 0.5 1
        0.125 0 0.125 0.5 0.25 0.25 0.25 0.5 0.5 1
        0.125 0.25 0.125 0.25 0.25 0.5 0.375 0.5 0.375 0.375 1
        0.125 0.25 0.125 0.25 0.25 0.5 0.375 0.5 0.375 0.375 0.5 1
    """,
    "FG90": """
        1 2 3 4 5 6 7 8
        1
        0 1
        0.5 0 1
        0.5 0.5 0.25 1
        0.5 0.25 0.625 0.625 1.125
        0.75 0.25 0.375 0.75 0.5625 1.25
        0.625 0.25 0.5 0.6875 0.84375 0.90625 1.28125
        0.625 0.25 0.5 0.6875 0.84375 0.90625 0.875 1.28125
    """,
    "Wray90": """
        1 2 3 4 5 6 7 8
        1
        0 1
        0.5 0.5 1
        0.5 0.5 0.5 1
        0.5 0.5 0.75 0.75 1.25
        0.25 0.75 0.5 0.75 0.625 1.25
        0.375 0.625 0.625 0.75 0.9375 0.9375 1.3125
        0.4375 0.5625 0.6875 0.75 1.09375 0.78125 1.125 1.46875
    """,
}

#: A of example 2.1 with the decimals that are printed, lower triangle by rows.
PRINTED_2_1 = """
    1.000
    0.000 1.000
    0.500 0.500 1.000
    0.500 0.000 0.250 1.000
    0.500 0.250 0.625 0.625 1.125
    0.250 0.625 0.563 0.313 0.688 1.125
"""

#: Example → source → quantity, value, and the standard error where one is printed.
SOLUTIONS = {
    "4.1": {
        "book": """
            b_M, 4.358, 4.88082357; b_F, 3.404, 5.66554023; ebv_1, 0.098, 4.341; reliability_1, 0.058;
            ebv_2, -0.019, 4.436; reliability_2, 0.016; ebv_3, -0.041, 4.271; reliability_3, 0.088;
            ebv_4, -0.009, 4.138; reliability_4, 0.144; ebv_5, -0.186, 4.138; reliability_5, 0.144;
            ebv_6, 0.177, 4.205; reliability_6, 0.116; ebv_7, -0.249, 4.205; reliability_7, 0.116;
            ebv_8, 0.183, 4.109; reliability_8, 0.156
        """,
        "blupf90": """
            ebv_1, 0.09844458, 4.34094096; ebv_2, -0.0187701, 4.43664612; ebv_3, -0.0410842, 4.27297922;
            ebv_4, -0.00866312, 4.13608581; ebv_5, -0.1857321, 4.13814812; ebv_6, 0.17687209, 4.20610397;
            ebv_7, -0.24945855, 4.20407502; ebv_8, 0.18261469, 4.11029997; b_M, 4.35850233, 4.88082357;
            b_F, 3.4044301, 5.66554023
        """,
    },
    "5.1": {
        "book": """
            ebv_1, 10.148; ebv_2, -3.084; ebv_3, -7.063; ebv_4, 13.581; ebv_5, -18.207; ebv_6, -18.387;
            ebv_7, 9.328; ebv_8, 24.194; pe_4, 8.417; pe_5, -7.146; pe_6, -17.229; pe_7, -1.39; pe_8, 17.347;
            hys2-hys1, 44.065; hys4-hys3, 0.013; parity1 (hys1=0), 175.472; parity2 (hys3=0), 241.893
        """,
    },
    "6.1": {
        "book": """
            b_wwg_M, 4.361; b_wwg_F, 3.397; b_pwg_M, 6.8; b_pwg_F, 5.88; ebv_wwg_1, 0.151, 4.3135;
            reliability_wwg_1, 0.07; ebv_pwg_1, 0.28, 5.992; reliability_pwg_1, 0.102; ebv_wwg_2, -0.015, 4.4267;
            reliability_wwg_2, 0.02; ebv_pwg_2, -0.008, 6.2264; reliability_pwg_2, 0.031; ebv_wwg_3, -0.078, 4.23;
            reliability_wwg_3, 0.105; ebv_pwg_3, -0.17, 5.8137; reliability_pwg_3, 0.155; ebv_wwg_4, -0.01, 4.0628;
            reliability_wwg_4, 0.175; ebv_pwg_4, -0.013, 5.4522; reliability_pwg_4, 0.257; ebv_wwg_5, -0.27, 4.0671;
            reliability_wwg_5, 0.173; ebv_pwg_5, -0.478, 5.4649; reliability_pwg_5, 0.253; ebv_wwg_6, 0.276, 4.1415;
            reliability_wwg_6, 0.142; ebv_pwg_6, 0.517, 5.6128; reliability_pwg_6, 0.212; ebv_wwg_7, -0.316, 4.137;
            reliability_wwg_7, 0.144; ebv_pwg_7, -0.479, 5.6004; reliability_pwg_7, 0.216; ebv_wwg_8, 0.244, 4.0355;
            reliability_wwg_8, 0.186; ebv_pwg_8, 0.392, 5.4; reliability_pwg_8, 0.271
        """,
        "blupf90": """
            sep_wwg_1, 4.313320612; sep_pwg_1, 5.991809902
        """,
    },
    "6.2": {
        "book": """
            b_wwg_M, 4.367; b_wwg_F, 3.657; b_pwg_M, 6.834; b_pwg_F, 6.007; ebv_wwg_1, 0.13; ebv_pwg_1, 0.266;
            ebv_wwg_2, -0.084; ebv_pwg_2, -0.075; ebv_wwg_3, -0.098; ebv_pwg_3, -0.194; ebv_wwg_4, 0.007;
            ebv_pwg_4, 0.016; ebv_wwg_5, -0.343; ebv_pwg_5, -0.555; ebv_wwg_6, 0.192; ebv_pwg_6, 0.44;
            ebv_wwg_7, -0.308; ebv_pwg_7, -0.483; ebv_wwg_8, 0.201; ebv_pwg_8, 0.349; ebv_wwg_9, -0.018;
            ebv_pwg_9, -0.119
        """,
    },
    "8.1": {
        "book": """
            ebv_direct_1, 0.564; ebv_maternal_1, 0.262; ebv_direct_2, -1.244; ebv_maternal_2, -1.583;
            ebv_direct_3, 1.165; ebv_maternal_3, 0.736; ebv_direct_4, -0.484; ebv_maternal_4, 0.586;
            ebv_direct_5, 0.63; ebv_maternal_5, -0.507; ebv_direct_6, -0.859; ebv_maternal_6, 0.841;
            ebv_direct_7, -1.156; ebv_maternal_7, 1.299; ebv_direct_8, 1.917; ebv_maternal_8, -0.158;
            ebv_direct_9, -0.553; ebv_maternal_9, 0.66; ebv_direct_10, -1.055; ebv_maternal_10, -0.153;
            ebv_direct_11, 0.385; ebv_maternal_11, 0.916; ebv_direct_12, 0.863; ebv_maternal_12, 0.442;
            ebv_direct_13, -2.98; ebv_maternal_13, 0.093; ebv_direct_14, 1.751; ebv_maternal_14, 0.362;
            pe_dam_2, -1.701; pe_dam_5, 0.415; pe_dam_6, 0.825; pe_dam_7, 0.461; herd2-herd1, 3.386;
            herd3-herd1, 1.434; pen1 (herd1=0), 34.54; pen2 (herd1=0), 27.691
        """,
    },
    "10.2": {
        "book": """
            u0_animal_1, -0.0583; u1_animal_1, 0.0552; u2_animal_1, -0.0442; u0_animal_2, -0.0728;
            u1_animal_2, -0.0305; u2_animal_2, -0.0244; u0_animal_3, 0.1311; u1_animal_3, -0.0247;
            u2_animal_3, 0.0686; u0_animal_4, 0.3445; u1_animal_4, 0.0063; u2_animal_4, -0.3164;
            u0_animal_5, -0.4537; u1_animal_5, -0.052; u2_animal_5, 0.2798; u0_animal_6, -0.5485;
            u1_animal_6, 0.073; u2_animal_6, 0.1946; u0_animal_7, 0.8518; u1_animal_7, -0.0095;
            u2_animal_7, -0.3131; u0_animal_8, 0.2209; u1_animal_8, 0.0127; u2_animal_8, -0.0174;
            pe0_cow_4, -0.6487; pe1_cow_4, -0.3601; pe2_cow_4, -1.4718; pe0_cow_5, -0.7761; pe1_cow_5, 0.137;
            pe2_cow_5, 0.9688; pe0_cow_6, -1.9927; pe1_cow_6, 0.9851; pe2_cow_6, -0.0693; pe0_cow_7, 3.5188;
            pe1_cow_7, -1.051; pe2_cow_7, -0.4048; pe0_cow_8, -0.1013; pe1_cow_8, 0.2889; pe2_cow_8, 0.9771;
            ebv305_1, -12.3731; ebv305_2, -15.7347; ebv305_3, 28.1078; ebv305_4, 74.8132; ebv305_5, -98.4153;
            ebv305_6, -118.4265; ebv305_7, 184.1701; ebv305_8, 47.6907
        """,
    },
}
