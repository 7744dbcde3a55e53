"""Storage of images and log-scale maps: folders, lists of files, LMDBs, generated sets.

It imports neither torch nor BasicSR, so that processes that pack or crop images start fast.
"""
