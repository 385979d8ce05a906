"""Sentences whose words hint at an emotion: a small grammar of several thousand of them."""

from __future__ import annotations

from typing import Final

import numpy as np

from mesm.corpora.miniature.emotions import NEUTRAL, mood
from mesm.inputs.words import split_words

_OPENERS: Final = (
    "Well,", "You know,", "Listen,", "I mean,", "So,", "Look,", "Honestly,", "Actually,", "Okay,",
    "Yeah,", "", "", "", "",
)  # fmt: skip
_CLOSERS: Final = (
    "you know", "I guess", "right", "anyway", "okay", "my friend", "this time", "after all",
    "as usual", "", "", "", "", "", "",
)  # fmt: skip
TOPICS: Final = (
    "the wedding", "the job", "the house", "my car", "the concert", "the report", "your letter",
    "the exam", "the lease", "the dinner", "the dog", "the flight", "my brother", "the party",
    "the game", "our trip", "the movie", "the kitchen", "the meeting", "the phone", "the office",
    "the bill", "your sister", "the garden",
)  # fmt: skip
_NAMES: Final = ("Anna", "Ben", "Carla", "David", "Emma", "Frank", "Grace", "Henry")

_PHRASES: Final[dict[str, tuple[str, ...]]] = {
    NEUTRAL: (
        "{topic} is on the list for Tuesday",
        "{name} put {topic} on the table",
        "we usually talk about {topic} at nine",
        "please write down the number for {topic}",
        "the bus stops near {topic}",
        "I read a page about {topic}",
        "there is a form for {topic} in the drawer",
        "{name} works on the second floor with {topic}",
        "it takes ten minutes to get to {topic}",
        "the address of {topic} is on the card",
    ),
    "angry": (
        "how dare you touch {topic}",
        "I am furious about {topic}",
        "shut up about {topic}",
        "I hate {topic} and I hate your attitude",
        "stop lying to me about {topic}",
        "you ruined {topic}, get out",
        "{name} makes me so mad with {topic}",
        "that is an insult, leave {topic} alone",
        "do not yell at me over {topic}",
        "I could kill {name} for {topic}",
    ),
    "excited": (
        "I can't wait for {topic}",
        "guess what, {topic} is really happening",
        "oh my god, we won {topic}",
        "I am thrilled about {topic}",
        "{topic} is going to be amazing",
        "they picked me for {topic}, incredible",
        "come on, hurry, {topic} starts now",
        "{name} and I are going to {topic}, yes",
        "this is huge, {topic} is awesome",
        "finally, {topic}, what a fantastic night",
    ),
    "frustrated": (
        "I already explained {topic} three times",
        "nothing ever works with {topic}",
        "why is {topic} so complicated",
        "I have been waiting for hours for {topic}",
        "it is pointless to argue about {topic}",
        "I keep trying but {topic} is stuck",
        "{name} never listens about {topic}",
        "we are going in circles with {topic}",
        "the same problem with {topic} again",
        "I can't fix {topic}, whatever I do",
    ),
    "happy": (
        "I love {topic}",
        "{topic} was wonderful",
        "I am so glad about {topic}",
        "{topic} makes me smile",
        "{name} was lovely at {topic}",
        "thank you, I enjoyed {topic}",
        "we laughed so much at {topic}",
        "I am delighted with {topic}",
        "what a beautiful day for {topic}",
        "{topic} turned out sweet and pleasant",
    ),
    "sad": (
        "I miss {topic} every night",
        "{name} passed away before {topic}",
        "I lost {topic} and I can't stop crying",
        "it feels empty without {topic}",
        "I am so lonely since {topic}",
        "{topic} is gone forever",
        "my heart is broken over {topic}",
        "it hurts to think of {topic}",
        "I am sorry, {topic} will never come back",
        "there were only tears at {topic}",
    ),
    "disgusted": (
        "{topic} smells revolting",
        "{topic} is gross",
        "{topic} makes me sick to my stomach",
        "there is rotten stuff in {topic}",
        "how filthy {topic} was",
        "{name} was vile about {topic}",
        "that is nasty, keep {topic} away",
        "I found {topic} disgusting",
        "I nearly threw up at {topic}",
        "{topic} is repulsive and slimy",
    ),
    "fear": (
        "I am scared of {topic}",
        "{topic} terrifies me",
        "someone is hiding behind {topic}",
        "what if {topic} is dangerous",
        "I am shaking because of {topic}",
        "{topic} is a nightmare, help",
        "please don't leave me alone with {topic}",
        "I am worried to death about {topic}",
        "{name} threatened us at {topic}",
        "I panic when I think of {topic}",
    ),
    "surprised": (
        "I did not expect {topic}",
        "no way, you mean {topic}",
        "{topic} came out of nowhere",
        "I had no idea about {topic}",
        "who would have thought of {topic}",
        "I was astonished by {topic}",
        "suddenly there was {topic}",
        "are you serious about {topic}",
        "wow, {name} showed up at {topic}",
        "{topic} left me speechless",
    ),
}

# Words of feeling that somebody else is said to use; they say nothing about the speaker.
_DISTRACTORS: Final = (
    "{name} would call it great",
    "{name} would call it sad",
    "{name} would call it crazy",
    "some people like that",
    "others are afraid of that",
    "{name} laughed about it once",
    "{name} complained about it once",
)
_DISTRACTION: Final = 0.15


def sentence(emotions: tuple[str, ...], rng: np.random.Generator) -> str:
    """Compose a sentence.

    Args:
        emotions: each gets a clause of its own; "neutral" is one of them.
        rng: draws words.
    """
    clauses = [_fill(_pick(_PHRASES[mood(emotion)], rng), rng) for emotion in emotions]
    text = " and ".join(clauses)
    if rng.random() < _DISTRACTION:
        text = f"{text}, {_fill(_pick(_DISTRACTORS, rng), rng)}"
    opener, closer = _pick(_OPENERS, rng), _pick(_CLOSERS, rng)
    text = f"{opener} {text}".strip()
    if closer:
        text = f"{text}, {closer}"
    return text[0].upper() + text[1:] + "."


def emotions_of_words() -> dict[str, frozenset[str]]:
    """Every word a sentence may hold, and the emotions in whose phrases it stands.

    Words of openers, closers, topics, names and other people's feelings stand in none.
    """
    words: dict[str, set[str]] = {}
    # A name or a topic belongs to nobody, also where a phrase has the same word.
    for text in (*_OPENERS, *_CLOSERS, *TOPICS, *_NAMES, *_DISTRACTORS):
        words.update({word: set() for word in split_words(text.format(name=""))})
    for emotion, phrases in _PHRASES.items():
        for phrase in phrases:
            for word in split_words(phrase.format(topic="", name="")):
                words.setdefault(word, set()).add(emotion)
    return {word: frozenset(moods) for word, moods in words.items()}


def _fill(phrase: str, rng: np.random.Generator) -> str:
    return phrase.format(topic=_pick(TOPICS, rng), name=_pick(_NAMES, rng))


def _pick(options: tuple[str, ...], rng: np.random.Generator) -> str:
    return options[rng.integers(len(options))]
