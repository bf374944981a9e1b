"""SpineMotionTools: five musculoskeletal and movement imaging systems behind one library.

Rooms: `motion`, `spinenet`, `keypoints`, `gait`, `movements`. Each has a `pipeline` with its public functions.
Importing this package imports nothing heavy.
"""

__version__ = "0.1.0"
