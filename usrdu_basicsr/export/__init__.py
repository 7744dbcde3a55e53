"""Trained SR networks in the formats of other programs."""
