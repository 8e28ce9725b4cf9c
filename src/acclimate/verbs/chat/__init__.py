"""Talking to a run's tuned model, and to its base beside it."""

from acclimate.verbs.chat.conversation import Conversation, open_chat

__all__ = ["Conversation", "open_chat"]
