"""Pictures in and out: reading portraits and masks, writing mp4 files and stills."""
