"""Agent attention with fixed agents."""

from millstream_models.agent_attention.model import AgentAttention, agent_attention

__all__ = ["AgentAttention", "agent_attention"]
