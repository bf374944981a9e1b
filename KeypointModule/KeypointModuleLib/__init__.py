"""The parts of the Spine Keypoints module: what the user chooses, the logic, sessions, the network in its process."""
