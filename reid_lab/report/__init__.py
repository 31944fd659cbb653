"""From runs to a table that can be believed: what is compared, how sure it is, and how it is written down.

Nothing here imports torch: a comparison reads what finished runs left in their folders.
"""
