"""Doors: the same orders, money and limits for clients that speak a protocol of the field.

Each protocol is a file that reads its requests and proofs; its words stand in `app/shapes`. What an
order may be told as is decided once for all of them, in `buying.py`.
"""
