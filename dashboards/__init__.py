"""Grafana dashboards, written as a program: `python -m dashboards` writes their JSON anew.

`queries` says PromQL, `panels` draws, `frame` lays out and adds what every dashboard has; each other module
is one dashboard, read from the top as an operator would.
"""
