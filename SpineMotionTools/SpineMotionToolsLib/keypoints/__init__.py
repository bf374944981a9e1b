"""68 interactive vertebral keypoints in spine radiographs, and Cobb angles."""
