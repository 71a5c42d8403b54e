"""Where jobs run: `local.py` is the Ray inside this process, `submit.py` gives a job a run and follows it to its end."""
