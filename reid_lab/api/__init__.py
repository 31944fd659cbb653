"""What `import reid_lab as rl` offers: the commands as functions that return values and raise `UserError`s.

The files import what they compute with when they are called: reading runs loads neither torch nor mlflow.
"""
