"""Benchmarks: scripts that are run from the root of the repository as `python -m benchmarks.NAME [--json]`; see README.md.

`sync_overhead`, `ray_overhead`, `quickstart`, `learning` and `data` measure. They share `measure.py` (statistics, machine,
output), `training.py` (models trained step by step), `command.py` (the command line as a process), `memory.py` (what a tree of
processes holds), `heldout.py` (crops to measure on while learning) and `unet.py` (a reference to compare with); `data` has
`photos.py` (what is streamed), `sides.py` (ways to stream it) and `costs.py` (milliseconds of one core).
"""
