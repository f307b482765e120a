"""Files and folders that several rooms write or read: whole files, models, verl's checkpoints."""
