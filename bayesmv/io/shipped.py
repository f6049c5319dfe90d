"""Model files that come with the package: where they are, and how they are found by name and copied."""

from __future__ import annotations

from pathlib import Path

from bayesmv.errors import SpecError, listing

_PACKAGE = Path(__file__).resolve().parents[1]
#: An installed package holds the models within it; in a checkout they stand beside it.
_HOMES = (_PACKAGE / "models", _PACKAGE.parent / "models")
_ENDING = ".toml"


def shipped_models() -> dict[str, Path]:
    """Model files that are shipped, by name, in alphabetical order."""
    home = next((home for home in _HOMES if home.is_dir()), None)
    return {} if home is None else {path.stem: path for path in sorted(home.glob(f"*{_ENDING}"))}


def find_model(path: str | Path) -> Path:
    """Model file that is meant: the file of this path, else the shipped model of this name.

    Raises
    ------
    SpecError
        If the path is a bare word, and neither a file nor a shipped model.
    """
    path = Path(path)
    is_name = path.name == str(path) and path.suffix in ("", _ENDING)
    if path.exists() or not is_name:
        return path
    shipped = shipped_models().get(path.stem)
    if shipped is None and not path.suffix:
        raise SpecError(f"no model file '{path}', and no model of that name is shipped; see bayesmv models")
    return path if shipped is None else shipped


def copy_model(name: str, output: str | Path | None = None) -> Path:
    """Copy a shipped model to where it can be edited.

    Parameters
    ----------
    name
        Name of a shipped model.
    output
        File to write; by default ``<name>.toml`` in the current folder. No file is overwritten.

    Returns
    -------
    Path
        The file written.

    Raises
    ------
    SpecError
        If no such model is shipped, or the file exists.
    """
    models = shipped_models()
    stem = name.removesuffix(_ENDING)
    if stem not in models:
        raise SpecError(f"no shipped model '{name}'; shipped are {listing(models)}; see bayesmv models")
    target = Path(f"{stem}{_ENDING}" if output is None else output)
    text = models[stem].read_bytes()
    try:
        with target.open("xb") as file:
            file.write(text)
    except FileExistsError:
        raise SpecError(f"'{target}' exists and is not overwritten; name another file with -o") from None
    return target
