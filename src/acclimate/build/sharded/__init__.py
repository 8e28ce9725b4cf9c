"""Models whose weights are spread over the ranks from the first byte on."""

from acclimate.build.sharded.sharding import Sharding, opened

__all__ = ["Sharding", "opened"]
