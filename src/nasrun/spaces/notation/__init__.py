"""How architectures are written, here and elsewhere: texts that are read and never executed."""
