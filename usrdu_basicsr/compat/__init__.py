"""BasicSR as it is installed: start-up hook, patches, registration, launchers and resuming."""
