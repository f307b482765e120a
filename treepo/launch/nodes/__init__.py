"""The processes of one job on each of its nodes: Ray, the head, the workers, what they tell each other."""
