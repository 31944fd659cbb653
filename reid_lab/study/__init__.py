"""Studies: arms of a base experiment times seeds, each arm tuned with an equal budget.

Called, the room is `reid_lab.api.computing.study` (see `reid_lab/__init__.py`).
"""
