from acclimate.config.load import load_config as load_config
from acclimate.config.load import parse_config as parse_config
from acclimate.gates import gate as gate
from acclimate.reports import write_report as write_report
from acclimate.verbs.adapt import adapt as adapt
from acclimate.verbs.chat import open_chat as open_chat
from acclimate.verbs.compare import compare as compare
from acclimate.verbs.compare import load_comparison as load_comparison
from acclimate.verbs.doctor import diagnose as diagnose
from acclimate.verbs.export import export as export
from acclimate.verbs.panel import evaluate_panel as evaluate_panel
from acclimate.verbs.panel import load_panel as load_panel
from acclimate.verbs.record import record as record
from acclimate.verbs.replay import replay as replay
from acclimate.verbs.run import evaluate_run as evaluate_run
from acclimate.verbs.run import train as train
from acclimate.verbs.validate import validate as validate

__version__: str
