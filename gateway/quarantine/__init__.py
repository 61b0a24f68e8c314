"""Ring 3: where uploads wait for their verdict, where refused ones are kept, and who is asked about them."""
