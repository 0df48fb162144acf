"""`beacon demo`: the whole service against the simulator, and the check that it kept its promises."""
