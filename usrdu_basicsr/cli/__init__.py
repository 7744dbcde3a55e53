"""Shared parts of the command-line scripts."""
