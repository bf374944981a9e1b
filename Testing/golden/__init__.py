"""The golden cases and their runner: `python -m Testing.golden FOLDER...`."""
