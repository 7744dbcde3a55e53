"""Where images and log-scales are kept: folders, lists of files, LMDBs, generated sets.

It imports neither torch nor BasicSR, so that the processes that pack and cut start fast.
"""
