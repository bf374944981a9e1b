"""Any system's task over a folder of cases: one folder, scene and table row a case; resumable; no case stops it."""
