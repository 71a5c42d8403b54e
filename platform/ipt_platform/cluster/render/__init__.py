"""A job as manifests: for KubeRay (`kuberay.py`), and for a cluster that `ray up` starts on AWS (`ray_up.py`).

Pure functions from a job and options to plain values. Nothing here reads the environment, so no secret can reach a manifest;
secrets stand in them by name alone.

    shape.py   what a job takes: processes and what each of them needs        places.py   the paths that a job names
    names.py   names and quantities as Kubernetes writes them                 pods.py     the pods of a RayJob
    hooks.py   what these do before their end                                 text.py     YAML
"""
