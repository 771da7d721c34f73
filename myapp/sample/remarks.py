"""Sentences of sample comments: each has a first one, and some have a second one."""

from __future__ import annotations

FIRST = (
    "This made my morning, thank you.",
    "I read this twice, and the second time aloud.",
    "Exactly our experience, down to the weather.",
    "I tried it last weekend and it worked better than I deserved.",
    "Not sure that I agree about the middle part.",
    "My grandmother would have put it more briefly.",
    "Where we live it is just the other way round.",
    "Is there a part two?",
    "The third paragraph is the one that I shall remember.",
    "I laughed on the bus, and had to explain.",
    "A small correction, if I may: it was the autumn, not the spring.",
    "I have sent this to my whole family.",
    "You have talked me into it.",
    "We gave up after a month, to be honest.",
    "I had no idea that anybody else did this.",
    "Lovely piece.",
    "Would this work in a much hotter place?",
    "Here is one more vote for doing it slowly.",
    "I have been at it for thirty years and still learnt something.",
    "Sceptical, but tempted.",
    "Please write more of these.",
    "What you say about patience is true of most things.",
    "I wish that I had read this before I started.",
    "Bookmarked for the winter.",
)

SECOND = (
    "We shall try again in the spring.",
    "My daughter has already made a list.",
    "It cost me an afternoon, and was worth it.",
    "I would add only: start smaller than you think.",
    "The photograph would have been nice to see.",
    "If you are ever in town, come by and have a look at ours.",
    "The trick with the notebook is a good one.",
    "Has anybody tried it with children?",
    "I am still thinking about the last line.",
    "It took me three tries, so do not give up.",
    "There is a society for this, would you believe it.",
    "The cat disagrees.",
    "I shall report back in a month.",
    "Ours was second-hand, and is none the worse for it.",
)
