"""SCOUT."""

from millstream_models.scout.model import Scout, scout

__all__ = ["Scout", "scout"]
