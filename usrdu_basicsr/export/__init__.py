"""Export of trained SR networks to other formats, and conversion of published checkpoints."""
