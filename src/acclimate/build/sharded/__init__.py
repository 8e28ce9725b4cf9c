"""Models whose weights are spread over the ranks from the first byte on."""

from acclimate.build.sharded.sharding import Sharding, opened, said_of_whole

__all__ = ["Sharding", "opened", "said_of_whole"]
