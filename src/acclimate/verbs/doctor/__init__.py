"""What this machine, this installation and this configuration have, and what would stop a run."""

from acclimate.verbs.doctor.diagnose import diagnose
from acclimate.verbs.doctor.fact import Diagnosis, Fact

__all__ = ["Diagnosis", "Fact", "diagnose"]
