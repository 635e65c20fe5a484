"""The words that the page never writes unless its reader takes them off the list."""

from __future__ import annotations

NEVER_WRITTEN = (
    "nigger",
    "niggers",
    "darky",
    "darkies",
    "darkey",
    "darkeys",
    "pickaninny",
    "pickaninnies",
    "chinaman",
    "chinamen",
    "jap",
    "japs",
    "coolie",
    "coolies",
    "injun",
    "injuns",
    "redskin",
    "redskins",
    "squaw",
    "squaws",
    "half-breed",
    "half-breeds",
    "dago",
    "dagos",
    "kike",
    "kikes",
)
"""Slurs that are ordinary words in old English books, which small models are trained on: without this list they are written where nobody
asked for them. Singular and plural, because a ban is a whole word; words that
have an innocent meaning besides are not among them. The list is the reader's own to edit; the engine, the command line
and the API ban nothing by themselves.
"""
