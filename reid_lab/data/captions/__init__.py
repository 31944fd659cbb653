"""Captions in parts: a rule-based splitter, the side file that keeps what it finds, and how well it does."""

from reid_lab.data.captions.coverage import Coverage, split_all
from reid_lab.data.captions.sidefile import PartsRow, PartsTable, read_parts, write_parts
from reid_lab.data.captions.splitter import Parts, split_caption

__all__ = [
    "Coverage",
    "Parts",
    "PartsRow",
    "PartsTable",
    "read_parts",
    "split_all",
    "split_caption",
    "write_parts",
]
