"""Trees in verl's rollout: the agent loop, the call to the server, the decoder in its actor, the portable engine."""
