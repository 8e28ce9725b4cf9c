"""What a look at a model gives by its structure, as transformers builds it without weights."""

from __future__ import annotations

from transformers import AutoTokenizer

from acclimate.build import resolve
from acclimate.model.checkpoint.opening import from_pretrained
from acclimate.model.checks.reach import reach_of
from acclimate.model.load import empty_network, load_config_of
from acclimate.verbs.draft.seen import LENGTH, ROWS, Seen, as_template
from acclimate.verbs.footprint import changed, fit_of, footprint, room_on
from acclimate.verbs.memory import Room


def by_structure(model: str, gpu: Room | None) -> Seen:
    """Looks as `validate` does, and finds the settings that make a run fit.

    Raises:
        ConfigError, ModelError: it is no model.
    """
    config = as_template(model, 2)  # until its reach is known
    network = empty_network(config.model)
    chats = getattr(from_pretrained(AutoTokenizer, config.model), "chat_template", None) is not None
    positions = reach_of(load_config_of(config.model).get_text_config()).positions
    config = changed(config, {"data.sequence_length": min(LENGTH, positions)})
    job = resolve(config)
    room = gpu or room_on(job.device)
    config = job.config if gpu is None else changed(config, {"model.dtype": "bfloat16"})
    device = "cuda" if gpu is not None else job.device.type
    fit = fit_of(config, room, ["base"], device=device)
    takes = fit.changes or {"training.micro_batch_size": ROWS}
    needs = footprint(changed(config, takes), ["base"], device=device).total
    short = () if fit.fits or fit.then <= room.usable * room.size else (fit.sentence,)
    return Seen(network.num_parameters(), positions, chats, room, needs, takes, short)
