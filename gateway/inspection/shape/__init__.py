"""How a body is built, before anybody builds anything from it: depth, counts and lengths of JSON, XML, forms and parts.

Nothing here reads what a body says. What is within its limits can be read by the portal, and by the rest of the inspection,
at a cost that follows from its length.
"""
