"""Report and model card of a run of `usrdu fit`."""
