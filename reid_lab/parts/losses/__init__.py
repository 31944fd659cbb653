"""Loss functions: plain functions of tensors that return a `Sum` over their valid rows.

Shapes: n pairs of an image and a text feature, D channels, C identities. No rows give an exact 0
with count 0, never NaN. Similarities are computed in float32, also under autocast.
"""
