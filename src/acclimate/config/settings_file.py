"""What the root sections of all YAML files share: a version, and where each setting was written."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Final, Literal, TypeVar

from pydantic import PrivateAttr, ValidationError

from acclimate.config.explain import Places, explain, shown
from acclimate.config.source_schema import Section
from acclimate.types.errors import ConfigError

Kind = TypeVar("Kind", bound="SettingsFile")

FORMAT_VERSION: Final = 1


class SettingsFile(Section):
    """Settings that errors name with file and line, also those that only show once data or model are known."""

    called: ClassVar[str] = "file"

    version: Literal[1] = FORMAT_VERSION

    _places: Places = PrivateAttr(default_factory=Places)

    @property
    def places(self) -> Places:
        """Where its settings were written."""
        return self._places

    @classmethod
    def parsed(cls: type[Kind], data: Mapping[str, Any], places: Places) -> Kind:
        """Builds it from plain data.

        Raises:
            ConfigError: another version, unknown key, wrong value; the message says where and what is accepted.
        """
        if (version := data.get("version", FORMAT_VERSION)) != FORMAT_VERSION:
            raise ConfigError(
                f"{places.at('version')}: this {cls.called} is of version {shown(version)}; "
                f"this acclimate reads version {FORMAT_VERSION}."
            )
        try:
            settings = cls.model_validate(data)
        except ValidationError as error:
            raise ConfigError(explain(error, cls, places)) from None
        settings._places = places
        return settings
