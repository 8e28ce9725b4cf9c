"""What `init` writes: a configuration that suits model and machine, and a gate's policy for its run."""

from acclimate.verbs.draft.policy import check_policy, policy_path, write_policy
from acclimate.verbs.draft.suited import paced, suited_to

__all__ = ["check_policy", "paced", "policy_path", "suited_to", "write_policy"]
