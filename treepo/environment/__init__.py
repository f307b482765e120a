"""Conversations with an environment, along every path of a tree."""

from treepo.environment.branches import Branches, EnvironmentStartError
from treepo.environment.conversation import Conversation, Tokenise, cut_text
from treepo.environment.open_limit import OpenLimit
from treepo.environment.protocol import Environment, Observation, Turn
from treepo.environment.states import BranchCounts, BranchState, Reply
from treepo.environment.talk import Answer, EndedTurn, Talk

__all__ = [
    "Answer",
    "BranchCounts",
    "BranchState",
    "Branches",
    "Conversation",
    "EndedTurn",
    "Environment",
    "EnvironmentStartError",
    "Observation",
    "OpenLimit",
    "Reply",
    "Talk",
    "Tokenise",
    "Turn",
    "cut_text",
]
