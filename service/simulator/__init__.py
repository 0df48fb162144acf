"""A WhatsApp server on loopback that the unmodified neonize cannot tell from the real one.

For tests and the demo only: nothing in production imports it. It relays what it cannot read; two real
clients do the encryption. `server.Simulator` is the way in, `faults.Faults` what can be made to go wrong.
"""
