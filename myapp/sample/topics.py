"""The topics of the sample posts."""

from __future__ import annotations

from myapp.sample.topics_home import BICYCLES, BREAD, GARDEN
from myapp.sample.topics_mind import BOOKS, MUSIC, SOFTWARE
from myapp.sample.topics_world import BIRDS, SKY, TOWNS, TRAINS

TOPICS = (BREAD, TRAINS, SOFTWARE, BIRDS, BOOKS, GARDEN, SKY, BICYCLES, TOWNS, MUSIC)
