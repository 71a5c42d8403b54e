"""Training: step, loop, state and schedule in plain torch; `worker.py` and `driver.py` wrap them in Ray Train.

Read in this order: `step.py` (one optimizer step), `loop.py` (steps until the end or a stop), `session.py` (one worker's
attempt: state, stream, evaluation, checkpoints), `worker.py` and `driver.py`.
"""
