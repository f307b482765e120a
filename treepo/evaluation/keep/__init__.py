"""What a run of an evaluation stores: its plan, its samples, its calls."""
