"""HR-pQCT motion grades 1-5 per slice, stack and scan (Walle et al., Bone 2023)."""
