"""What all sections of a YAML file share."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError, ValidationInfo, field_validator

from acclimate.config.explain import Places, explain
from acclimate.types.errors import ConfigError

Kind = TypeVar("Kind", bound="Section")


class Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, protected_namespaces=(), allow_inf_nan=False)

    @field_validator("*", mode="before")
    @classmethod
    def _booleans_of_yaml(cls, value: Any, info: ValidationInfo) -> Any:
        """``on`` is read as true; true is no number."""
        accepted = str(cls.model_fields[info.field_name or ""].annotation)
        if isinstance(value, bool) and "'on', 'off'" in accepted:
            return "on" if value else "off"
        if isinstance(value, bool) and "bool" not in accepted and ("int" in accepted or "float" in accepted):
            raise ValueError(f"{str(value).lower()} is no number")
        return value

    @classmethod
    def of_values(cls: type[Kind], values: Mapping[str, Any], prefix: str) -> Kind:
        """The section of values that stand in no file.

        Args:
            prefix: what a sentence calls it.

        Raises:
            ConfigError: unknown key, wrong value; what is accepted.
        """
        try:
            return cls.model_validate(values)
        except ValidationError as error:
            raise ConfigError(explain(error, cls, Places("command line"), prefix)) from None
