"""Ring 4: composition. Settings, the supervisor, its children and what they tell the operator."""
