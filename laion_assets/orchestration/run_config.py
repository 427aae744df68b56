"""Resources of which a run's configuration names some fields, and the settings say the others."""

from __future__ import annotations

from copy import copy
from typing import Any, TypeVar

import dagster as dg
from pydantic import create_model

Rules = TypeVar("Rules", bound="dg.ConfigurableResource[Any]")


def set_defaults(rules: type[Rules], **values: object) -> Rules:
    """Returns a resource with these values, of which a run's configuration may leave out any.

    Dagster takes for what is left out there the default of the field, and not the value that the
    resource was made with. So the values become the defaults of a class of its own.

    Args:
        rules: the class.
        values: by field.
    """
    fields: dict[str, Any] = {}
    for name, value in values.items():
        field = copy(rules.model_fields[name])
        field.default = value
        fields[name] = (field.annotation, field)
    made: type[Rules] = create_model(
        rules.__name__, __base__=rules, __doc__=rules.__doc__, __module__=rules.__module__, **fields
    )
    return made()
