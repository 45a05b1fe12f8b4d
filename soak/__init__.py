"""Campaigns that try to break lmcnb: thousands of generated inputs, counted as measured.

Each is a module with ``run(count, seed) -> dict`` of counts (and lists of failures), and ``COUNT``, how many it tries
by default. ``python -m soak [NAME…]`` runs them and writes RESULTS.md.
"""
