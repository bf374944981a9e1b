"""The parts of the SpineNet module: what the user chooses, the logic, the panel's sections."""
