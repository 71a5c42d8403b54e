"""ipt-platform: one image-restoration backbone for many tasks, trained with low-rank task biases on Ray.

The way of the data is the layout of the package:
`spec -> data -> model -> train -> checkpoint -> evaluate -> restore`, with `cluster`, `observe` and `cli` beside that road.
"""

__version__ = "0.1.0"
