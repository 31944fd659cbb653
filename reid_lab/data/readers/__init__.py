"""A reader per data set: its folder, as the authors lay it out, becomes the one table of items."""
