"""A keyword spotter with its front end inside."""

from millstream_models.keyword_spotter.model import LABELS, KeywordSpotter, keyword_spotter

__all__ = ["LABELS", "KeywordSpotter", "keyword_spotter"]
