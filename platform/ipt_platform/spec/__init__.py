"""What a job, a task and a dataset are: typed models, read from YAML with line numbers, every problem at once.

`load.load_job` is the way in: `source` (YAML) -> `overrides` (--set) -> `job`, `parts` (schema) -> `checks` (meaning).
"""
