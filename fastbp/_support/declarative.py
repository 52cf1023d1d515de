"""What the declarative classes share: a base class, and checks that name the argument, what was wanted and what came.

A declarative object says what is wanted (a layer, a loss, an optimiser) and computes nothing. It is read-only: to
change a hyperparameter, make another object.
"""

import numbers


def integer(name, value, least=None, most=None):
    """An int from a Python or NumPy integer in [least, most]; bool is not an integer."""
    if isinstance(value, bool) or not isinstance(value, numbers.Integral):
        raise TypeError(f"{name} must be an integer, got {described(value)}")
    value = int(value)
    if least is not None and value < least:
        raise ValueError(f"{name} must be at least {least}, got {value}")
    if most is not None and value > most:
        raise ValueError(f"{name} must be at most {most}, got {value}")
    return value


def number(name, value, least=None, above=None, below=None):
    """A finite float from a Python or NumPy real number, at least `least`, above `above` and below `below`."""
    if isinstance(value, bool) or not isinstance(value, numbers.Real):
        raise TypeError(f"{name} must be a number, got {described(value)}")
    try:
        value = float(value)
    except OverflowError:
        raise ValueError(f"{name} must be a finite number, got one too large for a float") from None
    if value != value or value in (float("inf"), float("-inf")):
        raise ValueError(f"{name} must be a finite number, got {value}")
    if least is not None and value < least:
        raise ValueError(f"{name} must be at least {least:g}, got {value}")
    if above is not None and value <= above:
        raise ValueError(f"{name} must be greater than {above:g}, got {value}")
    if below is not None and value >= below:
        raise ValueError(f"{name} must be less than {below:g}, got {value}")
    return value


def flag(name, value):
    """A bool from a Python or NumPy bool."""
    if isinstance(value, bool) or type(value).__name__ in ("bool", "bool_") and type(value).__module__ == "numpy":
        return bool(value)
    raise TypeError(f"{name} must be True or False, got {described(value)}")


def choice(name, value, choices):
    """One of the strings `choices`."""
    if not isinstance(value, str):
        raise TypeError(f"{name} must be one of {listed(choices)}, got {described(value)}")
    if value not in choices:
        raise ValueError(f"{name} must be one of {listed(choices)}, got {value!r}")
    return value


def seed(name, value):
    """An integer that fits in 64 bits without sign."""
    return integer(name, value, least=0, most=2**64 - 1)


def named(name, value, base, classes):
    """An object of class `base`: `value` itself, or the class among `classes` of that name with its defaults."""
    if isinstance(value, base):
        return value
    names = [cls.name for cls in classes]
    if isinstance(value, str):
        for cls in classes:
            if cls.name == value:
                return cls()
        raise ValueError(f"{name} must be one of {listed(names)} or an object of such a class, got {value!r}")
    if isinstance(value, type) and issubclass(value, base):
        raise TypeError(f"{name} must be an object, got the class {value.__name__}: write {value.__name__}()")
    raise TypeError(f"{name} must be one of {listed(names)} or an object of such a class, got {described(value)}")


def described(value):
    """The kind of a value, and the value where it is short: for error messages."""
    kind = type(value).__name__
    if value is None:
        return "None"
    if isinstance(value, type):
        return f"the class {value.__name__}"
    if isinstance(value, (bool, int, float, complex, str)):
        text = repr(value)
        return f"{text} ({kind})" if len(text) <= 40 else kind
    return kind


def listed(names):
    return ", ".join(repr(name) for name in names)


class Declared:
    """Base class: attributes set once, compared and printed by value, and written to and read from plain records.

    A subclass names itself in `name`, lists its constructor's arguments in `fields` (those without a default in
    `required` too), and stores each, checked, in an attribute of that name.
    """

    name = None
    fields = ()
    required = ()

    def _set(self, **attributes):
        self.__dict__.update(attributes)

    def __setattr__(self, attribute, value):
        raise AttributeError(f"{type(self).__name__} is read-only: make a new one to change {attribute}")

    def __delattr__(self, attribute):
        raise AttributeError(f"{type(self).__name__} is read-only")

    def _values(self):
        return tuple(getattr(self, field) for field in self.fields)

    def replaced(self, **changes):
        """An object like this one with some of its fields changed.

        Parameters
        ----------
        **changes
            New values of fields, as the constructor takes them.

        Raises
        ------
        TypeError, ValueError
            As by the constructor.
        """
        return type(self)(**{**dict(zip(self.fields, self._values(), strict=True)), **changes})

    def __repr__(self):
        # Arguments that have no default, and those that differ from theirs.
        plain = type(self)(**{field: getattr(self, field) for field in self.required})
        given = ", ".join(
            f"{field}={getattr(self, field)!r}"
            for field in self.fields
            if field in self.required or getattr(self, field) != getattr(plain, field)
        )
        return f"{type(self).__name__}({given})"

    def __eq__(self, other):
        if type(self) is not type(other):
            return NotImplemented
        return self._values() == other._values()

    def __hash__(self):
        return hash((type(self), self._values()))

    def to_dict(self):
        """A record of dicts, lists, strings, numbers and bools, as JSON holds them.

        Returns
        -------
        dict
            ``{"kind": name, field: value, ...}``.
        """
        return {"kind": self.name, **{field: _to_plain(getattr(self, field)) for field in self.fields}}

    @classmethod
    def from_dict(cls, record):
        """The object that `to_dict` gave this record for. It must be of this class or of one below it.

        Parameters
        ----------
        record : dict
            As `to_dict` writes it. Fields that are missing take their defaults.

        Raises
        ------
        TypeError
            If the record is not a dict, or a field is of the wrong kind.
        ValueError
            If the kind or a field is not known, or a value is out of range.
        """
        if not isinstance(record, dict):
            raise TypeError(f"record must be a dict with a 'kind', got {described(record)}")
        kinds = {found.name: found for found in _named_classes(cls)}
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


def _named_classes(cls):
    if cls.name is not None:
        yield cls
    for below in cls.__subclasses__():
        yield from _named_classes(below)


def _to_plain(value):
    if isinstance(value, Declared):
        return value.to_dict()
    if isinstance(value, tuple):
        return [_to_plain(element) for element in value]
    return value


def _from_plain(value):
    if isinstance(value, dict):
        return Declared.from_dict(value)
    if isinstance(value, list):
        return [_from_plain(element) for element in value]
    return value
