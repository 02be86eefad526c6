"""What is said of an order in the field's own protocols: the answers of doors, and callbacks.

Each shape is a file with the words of one protocol, pure. A door serves it in `app/http/doors`;
callbacks in it go the way of every webhook, through `app/lifecycle/deliver.py`.
"""
