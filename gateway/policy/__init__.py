"""Ring 2: policy. Compiles YAML files into a table and answers, as a pure function, whether a request is allowed."""

from gateway.policy.compiler import compile_policy
from gateway.policy.condition import NO_FACTS, Facts
from gateway.policy.table import Match, Node, PolicyTable

__all__ = ["NO_FACTS", "Facts", "Match", "Node", "PolicyTable", "compile_policy"]
