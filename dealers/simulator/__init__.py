"""A stand-in for real dealers: it speaks their protocols and misbehaves on demand.

It keeps a book of what it really delivered, so that whoever bought from it can be held against
it. To be a fair witness it shares no code with the protocols that the router uses.
"""
