"""Settings of transformers, TRL, axolotl and LLaMA-Factory: where each lives here, or what there is in its place."""

from __future__ import annotations

from collections.abc import Mapping

CALLED: Mapping[str, str] = {
    "lr": "optimizer.learning_rate",
    "learning_rate": "optimizer.learning_rate",
    "optim": "optimizer.name",
    "embedding_lr": "optimizer.embedding_learning_rate",
    "unfrozen_parameters": "model.train",
    "weight_decay": "optimizer.weight_decay",
    "max_grad_norm": "optimizer.max_grad_norm",
    "adam_epsilon": "optimizer.eps",
    "adam_beta1": "optimizer.betas",
    "adam_beta2": "optimizer.betas",
    "model_name_or_path": "model.path",
    "base_model": "model.path",
    "model_revision": "model.revision",
    "revision_of_model": "model.revision",
    "bf16": "model.dtype",
    "torch_dtype": "model.dtype",
    "attn_implementation": "model.attention",
    "flash_attn": "model.attention",
    "flash_attention": "model.attention",
    "sdp_attention": "model.attention",
    "quantization_bit": "model.quantization",
    "load_in_4bit": "model.quantization",
    "lora_r": "lora.rank",
    "lora_rank": "lora.rank",
    "r": "lora.rank",
    "lora_alpha": "lora.alpha",
    "lora_dropout": "lora.dropout",
    "lora_target": "lora.target_modules",
    "lora_target_modules": "lora.target_modules",
    "lora_target_linear": "lora.target_modules",
    "use_rslora": "lora.rslora",
    "per_device_train_batch_size": "training.micro_batch_size",
    "batch_size": "training.micro_batch_size",
    "num_train_epochs": "budget.epochs",
    "num_epochs": "budget.epochs",
    "epochs": "budget.epochs",
    "max_steps": "budget.steps",
    "steps": "budget.steps",
    "max_seq_length": "data.sequence_length",
    "max_length": "data.sequence_length",
    "sequence_len": "data.sequence_length",
    "cutoff_len": "data.sequence_length",
    "data_seed": "data.split_seed",
    "warmup_ratio": "schedule.warmup_ratio",
    "warmup_steps": "schedule.warmup_steps",
    "lr_scheduler_type": "schedule.type",
    "lr_scheduler": "schedule.type",
    "cosine_min_lr_ratio": "schedule.min_ratio",
    "datasets": "sources",
    "dataset": "sources",
    "dataset_name": "sources",
    "train_dataset": "sources",
    "pretraining_dataset": "sources",
    "train_file": "sources",
    "dataset_config": "subset",
    "data_files": "path",
    "columns": "fields",
    "text_column": "fields",
    "dataset_text_field": "fields",
    "field_messages": "fields",
    "weight": "share",
    "fraction": "share",
    "max_samples": "max_documents",
    "num_samples": "max_documents",
    "val_set_size": "heldout",
    "val_size": "heldout",
    "test_split_size": "heldout",
    "eval_steps": "training.eval_steps",
    "save_steps": "training.save_steps",
    "save_total_limit": "training.keep_last",
    "gradient_checkpointing": "training.gradient_checkpointing",
    "early_stopping_patience": "training.patience",
    "router_aux_loss_coef": "objective.router_aux_loss",
    "fsdp": "parallel.strategy",
}
"""Another tool's name -> the key here."""

INSTEAD: Mapping[str, str] = {
    "gradient_accumulation_steps": "Here it follows from budget.batch_tokens, which counts tokens of a step over all "
    "processes: per_device_train_batch_size x gradient_accumulation_steps x processes x max_length.",
    "auto_find_batch_size": "Lower training.micro_batch_size by hand: it changes memory and time, and no result.",
    "beta": "The weight of the KL is a setting of the method: method: {name: mol, kl_weight: 1}.",
    "kl_coef": "The weight of the KL is a setting of the method: method: {name: mol, kl_weight: 1}.",
    "ref_model": "The reference is the model that training starts from, or model.base.",
    "deepspeed": "There is no DeepSpeed here; parallel.strategy: fsdp spreads weights and optimizer state.",
    "fsdp_config": "parallel.strategy: fsdp spreads weights; its options are parallel.cpu_offload and "
    "parallel.reshard_after_forward.",
    "packing": "Documents always share rows, each computed as if it were alone; there is nothing to set.",
    "sample_packing": "Documents always share rows, each computed as if it were alone; there is nothing to set.",
    "neat_packing": "Documents always share rows, each computed as if it were alone; there is nothing to set.",
    "padding_free": "Documents always share rows, so there is hardly any padding; there is nothing to set.",
    "eval_strategy": "training.eval_steps says how often is measured; without it, only at the end.",
    "evaluation_strategy": "training.eval_steps says how often is measured; without it, only at the end.",
    "evals_per_epoch": "training.eval_steps says how often is measured, in steps.",
    "eval_dataset": "Each source holds documents out: sources.NAME.heldout; share: 0 makes a source that is only "
    "measured.",
    "test_datasets": "Each source holds documents out: sources.NAME.heldout; share: 0 makes a source that is only "
    "measured.",
    "save_strategy": "training.save_steps says how often is saved; without it, only at the end.",
    "saves_per_epoch": "training.save_steps says how often is saved, in steps.",
    "load_best_model_at_end": "training.final: best does it, on documents that no report uses.",
    "metric_for_best_model": "training.final: best weighs what the domain gains against what other text loses.",
    "load_in_8bit": "Only 4 bits are kept while training: model.quantization: nf4.",
    "fp16": "There is no float16 here: model.dtype: bfloat16, or float32.",
    "tf32": "Matrix products are what model.dtype says; there is nothing to set.",
    "optimizer.type": "Here it is called 'optimizer.name'.",
    "neftune_noise_alpha": "There is no noise on embeddings here.",
    "use_peft": "The section lora makes an adapter; without it all weights are trained.",
    "adapter": "The section lora makes an adapter; without it all weights are trained.",
    "finetuning_type": "The section lora makes an adapter; without it all weights are trained.",
    "use_dora": "There is no DoRA here; lora is plain, or with lora.rslora.",
    "lora_modules_to_save": "Beside an adapter no whole layer is trained; model.add_tokens trains rows of new tokens.",
    "lora_target_parameters": "lora.experts: true adapts the stacked experts of a mixture.",
    "sources.type": "Its format is found by its fields; 'format' and 'fields' say otherwise.",
    "chat_template": "Chats go through the model's own template.",
    "template": "Chats go through the model's own template.",
    "train_on_inputs": "Prompts are context and not learned; 'routes' of a source names the roles that are.",
    "train_on_prompt": "Prompts are context and not learned; 'routes' of a source names the roles that are.",
    "mask_history": "Every answer of a chat is learned; 'routes' of a source names the roles that are.",
    "completion_only_loss": "Prompts are context and not learned.",
    "assistant_only_loss": "Only the assistant is learned; 'routes' of a source names other roles.",
    "group_by_length": "Rows are packed full, so length does not matter; there is nothing to set.",
    "resume_from_checkpoint": "A run goes on by the option: acclimate train FILE --resume.",
    "auto_resume_from_checkpoints": "A run goes on by the option: acclimate train FILE --resume.",
    "overwrite_output_dir": "A run folder is never written over; give another name, or --resume.",
    "logging_steps": "Every step is logged, in RUN/metrics.jsonl; there is nothing to set.",
    "logging_dir": "It is the run folder, output_dir/name.",
    "run_name": "It is 'name', which the run folder has too.",
    "wandb_project": "report_to names where numbers go as well.",
    "use_liger_kernel": "The loss is computed in chunks already (objective.chunk_tokens); there is nothing to set.",
    "dataloader_num_workers": "Rows are made one step ahead in a thread; there is nothing to set.",
    "dataset_num_proc": "Documents are tokenised once and cached; there is nothing to set.",
    "remove_unused_columns": "Fields that are not read are said; there is nothing to set.",
    "ddp_timeout": "Processes wait a day for each other; there is nothing to set.",
}
"""Another tool's name, or one at a place here -> a sentence."""


def counterpart(key: str, section: str, here: list[str], at_root: bool) -> str | None:
    """What an error says of a key that other tools have; None of any other.

    Args:
        section: where it was written, without the names of sources: ``sources``, ``optimizer``; empty at the root.
        here: the keys of that section.

    >>> counterpart("lora_r", "", [], True)
    "Here it is called 'lora.rank'."
    >>> counterpart("type", "optimizer", [], False)
    "Here it is called 'optimizer.name'."
    """
    if (said := INSTEAD.get(f"{section}.{key}") or INSTEAD.get(key)) is not None:
        return said
    found = CALLED.get(key)
    if found is None or not (found in here or "." in found or at_root):
        return None
    return f"Here it is called '{f'sources.NAME.{found}' if at_root and found in OF_SOURCES else found}'."


OF_SOURCES = ("fields", "heldout", "max_documents", "path", "share", "subset")
