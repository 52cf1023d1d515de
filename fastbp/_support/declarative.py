"""The base class of the declarative objects, and argument checks whose errors name argument, expectation and value.

A declarative object describes a layer, a loss, an optimiser or a schedule by its hyperparameters, and computes nothing.
It is read-only: to change a hyperparameter, make a new object.

The checks raise TypeError for a value of the wrong kind and ValueError for a value out of range.
"""

import numbers
from collections.abc import Iterable, Iterator
from typing import Any, ClassVar, Self, TypeVar

_D = TypeVar("_D", bound="Declared")


def integer(name: str, value: object, least: int | None = None, most: int | None = None) -> int:
    """A Python or NumPy integer in [least, most], as an int. A bool is not an integer here."""
    if isinstance(value, bool) or not isinstance(value, numbers.Integral):
        raise TypeError(f"{name} must be an integer, got {described(value)}")
    found = int(value)
    if least is not None and found < least:
        raise ValueError(f"{name} must be at least {least}, got {found}")
    if most is not None and found > most:
        raise ValueError(f"{name} must be at most {most}, got {found}")
    return found


def number(
    name: str, value: object, least: float | None = None, above: float | None = None, below: float | None = None
) -> float:
    """A finite Python or NumPy real number, as a float: at least `least`, above `above` and below `below`."""
    if isinstance(value, bool) or not isinstance(value, numbers.Real):
        raise TypeError(f"{name} must be a number, got {described(value)}")
    try:
        found = float(value)
    except OverflowError:
        raise ValueError(f"{name} must be a finite number, got one too large for a float") from None
    if found != found or found in (float("inf"), float("-inf")):
        raise ValueError(f"{name} must be a finite number, got {found}")
    if least is not None and found < least:
        raise ValueError(f"{name} must be at least {least:g}, got {found}")
    if above is not None and found <= above:
        raise ValueError(f"{name} must be greater than {above:g}, got {found}")
    if below is not None and found >= below:
        raise ValueError(f"{name} must be less than {below:g}, got {found}")
    return found


def flag(name: str, value: object) -> bool:
    """A Python or NumPy bool, as a bool."""
    if isinstance(value, bool) or type(value).__name__ in ("bool", "bool_") and type(value).__module__ == "numpy":
        return bool(value)
    raise TypeError(f"{name} must be True or False, got {described(value)}")


def choice(name: str, value: object, choices: Iterable[str]) -> str:
    """One of the strings `choices`."""
    if not isinstance(value, str):
        raise TypeError(f"{name} must be one of {listed(choices)}, got {described(value)}")
    if value not in choices:
        raise ValueError(f"{name} must be one of {listed(choices)}, got {value!r}")
    return value


def seed(name: str, value: object) -> int:
    """An integer in [0, 2^64)."""
    return integer(name, value, least=0, most=2**64 - 1)


def named(name: str, value: object, base: type[_D], classes: Iterable[type[_D]]) -> _D:
    """An object of class `base`: `value` itself, or a new object, with defaults, of the class that the str names."""
    if isinstance(value, base):
        return value
    classes = tuple(classes)
    names = [cls.name for cls in classes]
    if isinstance(value, str):
        for cls in classes:
            if cls.name == value:
                return cls()
        raise ValueError(f"{name} must be one of {listed(names)} or an object of such a class, got {value!r}")
    if isinstance(value, type) and issubclass(value, base):
        raise TypeError(f"{name} must be an object, got the class {value.__name__}: write {value.__name__}()")
    raise TypeError(f"{name} must be one of {listed(names)} or an object of such a class, got {described(value)}")


def described(value: object) -> str:
    """The type of a value, and the value itself where it is short: for error messages."""
    kind = type(value).__name__
    if value is None:
        return "None"
    if isinstance(value, type):
        return f"the class {value.__name__}"
    if isinstance(value, (bool, int, float, complex, str)):
        text = repr(value)
        return f"{text} ({kind})" if len(text) <= 40 else kind
    return kind


def listed(names: Iterable[str]) -> str:
    """Names in quotes, separated by commas: for error messages."""
    return ", ".join(repr(name) for name in names)


class Declared:
    """Base class: attributes set once, compared and printed by value, and written to and read from plain records.

    Attributes
    ----------
    name : str
        The name of the class in records and arguments; empty for a class that has none, such as a base class.
    fields : tuple of str
        The arguments of the constructor. Each is stored, checked, in an attribute of that name.
    required : tuple of str
        The fields without a default.
    """

    name: ClassVar[str] = ""
    fields: ClassVar[tuple[str, ...]] = ()
    required: ClassVar[tuple[str, ...]] = ()

    def __init_subclass__(cls) -> None:
        _KINDS.clear()

    def _set(self, **attributes: Any) -> None:
        self.__dict__.update(attributes)

    def __setattr__(self, attribute: str, value: object) -> None:
        raise AttributeError(f"{type(self).__name__} is read-only: make a new one to change {attribute}")

    def __delattr__(self, attribute: str) -> None:
        raise AttributeError(f"{type(self).__name__} is read-only")

    def _values(self) -> tuple[Any, ...]:
        return tuple(getattr(self, field) for field in self.fields)

    def replaced(self, **changes: Any) -> Self:
        """A copy of this object with some fields changed.

        Parameters
        ----------
        **changes
            New values of fields, as the constructor takes them.

        Returns
        -------
        object of the same class

        Raises
        ------
        TypeError, ValueError
            As by the constructor.
        """
        return type(self)(**{**dict(zip(self.fields, self._values(), strict=True)), **changes})

    def __repr__(self) -> str:
        # The arguments that have no default, and those that differ from their default.
        plain = type(self)(**{field: getattr(self, field) for field in self.required})
        given = ", ".join(
            f"{field}={getattr(self, field)!r}"
            for field in self.fields
            if field in self.required or getattr(self, field) != getattr(plain, field)
        )
        return f"{type(self).__name__}({given})"

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Declared) or type(self) is not type(other):
            return NotImplemented
        return self._values() == other._values()

    def __hash__(self) -> int:
        return hash((type(self), self._values()))

    def to_dict(self) -> dict[str, Any]:
        """A record of dicts, lists, strings, numbers, bools and None, as JSON has them.

        Returns
        -------
        dict
            ``{"kind": name, field: value, ...}``.
        """
        return {"kind": self.name, **{field: _to_plain(getattr(self, field)) for field in self.fields}}

    @classmethod
    def from_dict(cls, record: dict[str, Any]) -> Self:
        """The object that a record of `to_dict` describes. It must be of this class or of a subclass.

        Parameters
        ----------
        record : dict
            As `to_dict` writes it. Fields that are missing take their defaults.

        Returns
        -------
        object of the record's class

        Raises
        ------
        TypeError
            If the record is not a dict, or a field is of the wrong kind.
        ValueError
            If the kind or a field is not known, or a value is out of range.
        """
        if not isinstance(record, dict):
            raise TypeError(f"record must be a dict with a 'kind', got {described(record)}")
        kinds = _kinds(cls)
        kind = record.get("kind")
        if not isinstance(kind, str) or kind not in kinds:
            raise ValueError(f"record's 'kind' must be one of {listed(kinds)}, got {kind!r}")
        found = kinds[kind]
        arguments = {field: _from_plain(value) for field, value in record.items() if field != "kind"}
        for field in arguments:
            if field not in found.fields:
                raise ValueError(
                    f"record of kind {kind!r} has an unknown field {field!r}; it takes {listed(found.fields)}"
                )
        for field in found.required:
            if field not in arguments:
                raise ValueError(f"record of kind {kind!r} must have a field {field!r}")
        try:
            return found(**arguments)
        except RecursionError:
            raise ValueError("record is nested too deeply") from None


_KINDS: dict[type, dict[str, Any]] = {}  # of `_kinds`; emptied when a class is defined


def _kinds(cls: type[_D]) -> dict[str, type[_D]]:
    """The classes whose records `cls` reads, by their names."""
    if cls not in _KINDS:
        _KINDS[cls] = {found.name: found for found in _named_classes(cls)}
    return _KINDS[cls]


def _named_classes(cls: type[_D]) -> Iterator[type[_D]]:
    if cls.name:
        yield cls
    for below in cls.__subclasses__():
        yield from _named_classes(below)


def _to_plain(value: Any) -> Any:
    if isinstance(value, Declared):
        return value.to_dict()
    if isinstance(value, tuple):
        return [_to_plain(element) for element in value]
    return value


def _from_plain(value: Any) -> Any:
    if isinstance(value, dict):
        return Declared.from_dict(value)
    if isinstance(value, list):
        return [_from_plain(element) for element in value]
    return value
