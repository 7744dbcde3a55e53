"""Two folders in, a network out: the whole workflow of `usrdu fit`."""
