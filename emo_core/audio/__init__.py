"""Sound: any audio file -> waveform -> features -> one window of features per video frame."""
