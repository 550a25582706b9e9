"""Data sets: the catalogue, the publishers' formats, downloads, and the lookup that ties them together."""
