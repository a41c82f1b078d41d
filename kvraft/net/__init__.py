"""Sockets, names and clocks: everything that sets an option of the kernel or touches a private attribute of Twisted.

`clock` makes timers follow the monotonic clock. `names` looks host names up, `endpoint` and `connect` dial, `listen`
opens the sockets of a node. `sockets` sets the options of TCP connections, `write_now` writes without a trip through
the reactor, and `connection_watch` reads from all connections of a port in one go.
"""
