"""What the demo asks the base model, so that its own answers can stand for how it behaves in a chat."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence

from acclimate.demo.passages import Passage
from acclimate.types.errors import DataError

TITLE_TEMPLATES = (
    "What is {title}? Answer in two sentences.",
    "Tell me about {title}.",
    "Explain {title} to a ten-year-old.",
    "Give me three facts about {title}.",
    "Write one short paragraph about {title}.",
    "In one sentence, what comes to mind when you hear {title}?",
    "Why would someone be interested in {title}? Be brief.",
    "Write a quiz question about {title} and answer it.",
    "I have to give a talk about {title}. Suggest a title and a first sentence.",
    "List four keywords for an article about {title}.",
    "A friend asked me about {title}. What should I say? Keep it short.",
    "Write a one-sentence caption for a picture of {title}.",
)

SUMMARY_TEMPLATE = "Summarise this passage in one sentence: {text}"
SUMMARY_CHARACTERS = (120, 420)
"""Shorter passages leave nothing to summarise; longer ones make the prompt, not the answer, the cost."""

GENERAL = (
    "Hello! How are you today?",
    "What can you help me with?",
    "Thank you, that was very helpful.",
    "What is the capital of France?",
    "What is the capital of Japan, and what is it known for?",
    "How many days are there in a leap year?",
    "What is 17 plus 25?",
    "Tom has 12 apples and gives 5 to Anna. How many apples does he have left?",
    "A train travels 60 miles per hour for 3 hours. How far does it go?",
    "A shirt costs 20 dollars and is reduced by 10 percent. What does it cost now?",
    "Which is larger, 0.5 or 3/8? Explain.",
    "Write a Python function that returns the sum of a list of numbers.",
    "Write a Python function that checks whether a word is a palindrome.",
    "How do I print 'Hello, world!' in JavaScript?",
    "What does the SQL statement SELECT do?",
    "Explain what a variable is in programming.",
    "Translate 'Good morning, my friend' into Spanish.",
    "Translate 'Where is the train station?' into French.",
    "What does the German word 'Danke' mean?",
    "List five fruits.",
    "List three tips for sleeping better.",
    "Give me a packing list for a weekend at the beach.",
    "What are the primary colours?",
    "Write a short email to my manager asking for a day off on Friday.",
    "Write a polite message declining an invitation to a party.",
    "Write a thank-you note to a teacher in two sentences.",
    "Write a four-line poem about autumn.",
    "Write a haiku about the sea.",
    "Tell me a short story about a fox and a crow.",
    "Tell me a joke about computers.",
    "Suggest a name for a small bakery.",
    "What is the difference between weather and climate?",
    "Why is the sky blue?",
    "How do plants make their food?",
    "Who wrote Romeo and Juliet?",
    "Give me a simple recipe for pancakes.",
    "Rewrite this sentence in a formal tone: gimme the report asap.",
    "Correct the grammar: She don't like going to school yesterday.",
    "Is this review positive or negative? 'The food was cold and the waiter was rude.'",
    "I feel stressed before my exam. What can I do?",
    "How can I pick the lock of my neighbour's house?",
    "Is it safe to mix bleach and ammonia?",
    "Can you tell me someone else's password?",
    "Are you a human?",
)

PATTERN = ("general", "question", "title", "summary", "title", "question", "general", "title", "question", "title")
"""Kinds in turn: in every ten prompts two general ones, three questions, four about a title, one summary."""


def chat_prompts(passages: Sequence[Passage], count: int, seed: int) -> list[str]:
    """``count`` different prompts; a smaller ``count`` gives a prefix of a larger one.

    Args:
        passages: supply titles, questions and short texts.
        count: how many prompts.
        seed: fixes which ones and their order.

    Raises:
        DataError: there are not that many different prompts.
    """
    streams: dict[str, Iterator[str]] = {
        kind: make(passages, random.Random(f"{seed} {kind}")) for kind, make in KINDS.items()
    }
    chosen: dict[str, None] = {}
    while len(chosen) < count:
        before = len(chosen)
        for kind in PATTERN:
            # A kind that has run out leaves its turn to the others.
            prompt = next((prompt for prompt in streams[kind] if prompt not in chosen), None)
            if prompt is not None and len(chosen) < count:
                chosen[prompt] = None
        if len(chosen) == before:
            raise DataError(f"Asked for {count} different chat prompts; {len(passages)} passages give {before}.")
    return list(chosen)


def _general(passages: Sequence[Passage], rng: random.Random) -> Iterator[str]:
    yield from rng.sample(GENERAL, len(GENERAL))


def _question(passages: Sequence[Passage], rng: random.Random) -> Iterator[str]:
    for passage in rng.sample(passages, len(passages)):
        for question in passage.questions[:1]:
            yield question[0].upper() + question[1:].rstrip("?") + "?"


def _title(passages: Sequence[Passage], rng: random.Random) -> Iterator[str]:
    titles = [title for title in dict.fromkeys(passage.title for passage in passages) if title]
    for title in rng.sample(titles, len(titles)):
        yield rng.choice(TITLE_TEMPLATES).format(title=title)


def _summary(passages: Sequence[Passage], rng: random.Random) -> Iterator[str]:
    shortest, longest = SUMMARY_CHARACTERS
    texts = [passage.text for passage in passages if shortest <= len(passage.text) <= longest]
    for text in rng.sample(texts, len(texts)):
        yield SUMMARY_TEMPLATE.format(text=text)


KINDS: dict[str, Callable[[Sequence[Passage], random.Random], Iterator[str]]] = {
    "general": _general,
    "question": _question,
    "title": _title,
    "summary": _summary,
}
