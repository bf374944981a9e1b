"""The parts of the Motion score module: what the user chooses, the logic, the panel's sections."""
