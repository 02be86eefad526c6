"""Having changes that tests make by SQL taken up, as the commands' own changes are."""

PUBLISH = "update routing_policy set revision = revision + 1, goods_revision = revision + 1"
"""After a change of anything: products, prices and routes included."""
