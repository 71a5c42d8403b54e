"""Backbones, their layer groups and the task biases on them; pure torch.

`build.py` names the backbones, `iptv2.py` is the U-shape, `attention.py` and `ffn.py` its parts; `groups.py` says which layer
group each weight belongs to, `bias.py` adds `B1 @ B2` per task, `counts.py` counts parameters and multiply-adds.
"""
