"""The model and everything round it, without ComfyUI.

config        frozen dataclasses that travel in a checkpoint's metadata
models        the networks: backbone, ReferenceNet, audio, speed, face locator, VAE
audio         a sound file -> features -> one window per video frame
face          boxes and masks of the face region; head pose -> angular speed
sampling      noise schedule, guidance, clip plan, the generation loop
checkpoints   detect, load and save
video         images and films in and out
pipeline      portrait + voice -> film, from the parts above
synthetic     drawn portraits and generated voices with known truth
training      the three stages of the paper, and the data they read
evaluation    measurements of what a model does
"""
