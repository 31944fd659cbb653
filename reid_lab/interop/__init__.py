"""Weights of other projects: key tables from their names to ours, matched exactly, with a report.

tensors = read_tensors(path)                              # weights_only, unwrapped, without `module.`
report = load(trunk, tensors, openai_clip.table(trunk.config), ...)
print(report.table())
"""

from reid_lab.parts.weights import Report, Source, Table, load, read_tensors, unwrap

__all__ = ["Report", "Source", "Table", "load", "read_tensors", "unwrap"]
