"""What must not leave by accident, nor come in where it has no business: card numbers, secrets, account numbers, patterns of an operator.

Found in streams of text, also where a sighting is cut in two by whatever carries it. A value that is found is never kept: what
remains of it is its kind, how often, and a keyed digest.
"""
