"""Networks, registered in BasicSR's `ARCH_REGISTRY`."""

from usrdu_basicsr import register

# First of all: the modules here import BasicSR, which may need mending, and whose import may ask for all of them.
register()
