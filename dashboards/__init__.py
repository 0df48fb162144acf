"""Grafana dashboards, written as a program: `python -m dashboards` writes their JSON anew.

`queries` says PromQL, `panels` draws, `frame` lays out and adds what every dashboard has; each other module
is one dashboard, read from the top as an operator would.
"""

import warnings

with warnings.catch_warnings():
    # The SDK would have us write the newer schema, which Grafana 11 does not load.
    warnings.filterwarnings("ignore", "Prefer using dashboardv2", DeprecationWarning)
    # The warning comes once, with the first import of these.
    import grafana_foundation_sdk.builders.dashboard
    import grafana_foundation_sdk.builders.heatmap  # noqa: F401
