"""Files and folders that several rooms use: written whole, put aside, locked; models, and checkpoints of verl."""
