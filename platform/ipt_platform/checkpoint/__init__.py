"""State to committed files and back.

`files.py` writes, verifies and prunes, `state.py` says which files a state is, `load.py` makes a restorer of one.
"""
