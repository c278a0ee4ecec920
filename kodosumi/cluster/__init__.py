"""The Ray cluster: finding it, joining it, starting one, and small facts that all its processes share.

Nothing here imports Ray before it's needed: the authentication mode must be in the environment first.
"""

from .connection import NAMESPACE, Node, attach, attached, survey
from .facts import publish, published, published_keys
from .finding import runs_here
from .head import Head, start_head
from .member import ON_WORKING_NODES
from .watch import membership

__all__ = [
    "NAMESPACE",
    "ON_WORKING_NODES",
    "Head",
    "Node",
    "attach",
    "attached",
    "membership",
    "publish",
    "published",
    "published_keys",
    "runs_here",
    "start_head",
    "survey",
]
