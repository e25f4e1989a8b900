"""Extensions, named by the dotted path of a class or function: ``my_package.my_module.MyClass``."""

from __future__ import annotations

import re
from importlib.util import find_spec
from typing import Any

from src.config.schema import ConfigError

_PATH = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)+")
_REMEDY = "give the dotted path of a class or function, with the folder of its module in PYTHONPATH"


def is_dotted(value: Any) -> bool:
    """Whether ``value`` can be a dotted path."""
    return isinstance(value, str) and _PATH.fullmatch(value) is not None


def fault(name: str, value: Any) -> str:
    """Return why the setting ``name`` cannot be ``value``; an empty string if its module exists.

    The module is not imported, but its parent packages are, since Python needs them to find it.
    """
    if not is_dotted(value):
        return f"{name}={value}: {_REMEDY}"
    module = value.rpartition(".")[0]
    try:
        found = find_spec(module) is not None
    except ModuleNotFoundError:
        found = False
    return "" if found else f"{name}={value}: there is no module {module}; {_REMEDY}"


def load(name: str, value: str) -> Any:
    """Return the class or function at the dotted path ``value`` of the setting ``name``.

    Raises:
        ConfigError: it does not exist, or its module cannot be imported.
    """
    from hydra.utils import get_object  # grading processes import this module and need no Hydra

    try:
        return get_object(value)
    except Exception as error:
        cause = error.__cause__ or error
        raise ConfigError(f"{name}={value}: {type(cause).__name__}: {cause}; {_REMEDY}") from error
