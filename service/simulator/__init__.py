"""A WhatsApp server on loopback that the unmodified neonize cannot tell from the real one."""
