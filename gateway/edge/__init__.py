"""Ring 3: the data plane. Sockets, HTTP, and the pipeline every request goes down.

Start reading at `pipeline.py`: one function from the parsed head to the upstream.
"""
