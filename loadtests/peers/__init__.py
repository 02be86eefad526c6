"""What a user would build in a day or install instead, doing the same job beside the service.

The programs of the Python peers are imported by an environment of their own, which knows nothing of
the service: so nothing is imported here.
"""
