"""Trees in verl's training: the task runner, the trainers, the estimators, the packed engine, metrics and dumps."""
