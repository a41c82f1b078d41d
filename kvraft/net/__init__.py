"""Sockets, names and clocks: all code that sets a kernel option or uses a private attribute of Twisted.

`clock` makes timers follow the monotonic clock. `names` resolves host names, `endpoint` and `connect` dial, `listen`
opens the sockets of a node. `sockets` sets the options of TCP connections. `write_now` writes without a pass through
the reactor. `connection_watch` reads from all readable connections of a port in one call of the reactor.
"""
