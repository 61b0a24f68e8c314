"""Ring 2: rate limits as arithmetic. Where the numbers live is the edge's business."""
