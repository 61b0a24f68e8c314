"""HTML as a browser would read it out of a value: tags, attributes, addresses, styles and Markdown's quoted code."""
