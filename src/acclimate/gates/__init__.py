"""The gate: may this run be released? Margins from a policy file, held against paired intervals."""

from acclimate.gates.policy import Policy, load_policy, parse_policy
from acclimate.gates.verdict import Verdict, gate

__all__ = ["Policy", "Verdict", "gate", "load_policy", "parse_policy"]
