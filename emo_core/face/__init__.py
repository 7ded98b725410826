"""Boxes and masks of the face region; head pose -> angular speed."""
