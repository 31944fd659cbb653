"""A run computed anew from what it recorded: which inputs differ, and whether the same numbers come out.

(`reid_lab.tracking.replay` sends journals to MLflow, which is something else.)
"""
