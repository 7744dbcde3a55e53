"""The command `usrdu`: one module a command, and the parts that commands and scripts share."""
